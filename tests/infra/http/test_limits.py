"""Rate limits: who is counted how, over all replicas, and while Redis is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from app.config import Settings
from app.errors import RateLimited
from app.infra.http.limits import RateLimiter
from app.infra.lifespan import Resources
from app.infra.redis import CircuitBreaker, make_redis
from tests.conftest import MakeClient, MakeToken
from tests.sockets import unused_port, with_redis_at

TOKENS = "/api/v1/tokens"


def limited(settings: Settings, rate: str) -> Settings:
    return settings.model_copy(
        update={"rate_limit_read": rate, "rate_limit_write": rate, "rate_limit_login": rate}
    )


@pytest.fixture
def limiter(settings: Settings, resources: Resources) -> RateLimiter:
    return RateLimiter(limited(settings, "3/hour"), resources.redis, resources.breaker)


@asynccontextmanager
async def without_redis(settings: Settings) -> AsyncIterator[RateLimiter]:
    async with make_redis(with_redis_at(settings, unused_port())) as redis:
        yield RateLimiter(limited(settings, "3/hour"), redis, CircuitBreaker(0.5))


async def allowed(limiter: RateLimiter, caller: str = "ada") -> int:
    """How many of ten uses pass."""
    passed = 0
    for _ in range(10):
        try:
            await limiter.hit("write", caller)
        except RateLimited:
            continue
        passed += 1
    return passed


class TestCounting:
    """Each caller has a limit for each kind of request, and learns when to try again."""

    async def test_callers_and_kinds_do_not_share(self, limiter: RateLimiter) -> None:
        assert [await allowed(limiter, caller) for caller in ("ada", "bob")] == [3, 3]
        await limiter.hit("read", "ada")

    async def test_replicas_share(self, settings: Settings, resources: Resources) -> None:
        replicas = [
            RateLimiter(limited(settings, "3/hour"), resources.redis, resources.breaker)
            for _ in range(2)
        ]
        assert [await allowed(replica) for replica in replicas] == [3, 0]

    async def test_simultaneous_uses_are_all_counted(self, limiter: RateLimiter) -> None:
        results = await asyncio.gather(
            *(limiter.hit("write", "ada") for _ in range(20)), return_exceptions=True
        )
        assert results.count(None) == 3

    async def test_the_refusal_tells_the_limit_and_the_wait(self, limiter: RateLimiter) -> None:
        await allowed(limiter)
        with pytest.raises(RateLimited) as caught:
            await limiter.hit("write", "ada")
        seconds = int(caught.value.headers["Retry-After"])
        assert 1 <= seconds <= 3600
        assert caught.value.detail == f"More than 3 in 3600 s. Try again in {seconds} s."

    async def test_whoever_waits_that_long_is_served(
        self, settings: Settings, resources: Resources
    ) -> None:
        limiter = RateLimiter(limited(settings, "1/second"), resources.redis, resources.breaker)
        assert await allowed(limiter) >= 1
        with pytest.raises(RateLimited) as caught:
            await limiter.hit("write", "ada")
        await asyncio.sleep(int(caught.value.headers["Retry-After"]))
        await limiter.hit("write", "ada")


class TestWithoutRedis:
    """While Redis is away each process counts for itself."""

    async def test_the_limit_holds_and_the_wait_is_not_too_short(self, settings: Settings) -> None:
        async with without_redis(settings) as limiter:
            assert await allowed(limiter) == 3
            with pytest.raises(RateLimited) as caught:
                await limiter.hit("write", "ada")
        assert caught.value.headers["Retry-After"] == "3600"


class TestTokens:
    """A token is limited by itself, and strangers by their address."""

    async def test_tokens_of_one_address_do_not_share(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        client = make_client(rate_limit_write="2/hour")
        for _ in range(2):
            client.headers["Authorization"] = f"Bearer {await make_token()}"
            answers = [await client.get(TOKENS) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert 1 <= int(answers[2].headers["retry-after"]) <= 3600

    async def test_guessing_is_limited_by_address(self, make_client: MakeClient) -> None:
        client = make_client(rate_limit_login="2/hour", peer="198.51.100.1")
        assert await guesses(client, 3) == [401, 401, 429]
        neighbour = make_client(rate_limit_login="2/hour", peer="198.51.100.2")
        assert await guesses(neighbour, 1) == [401]

    async def test_a_valid_token_is_not_locked_out_by_a_guesser(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        client = make_client(rate_limit_login="1/hour")
        assert await guesses(client, 2) == [401, 429]
        client.headers["Authorization"] = f"Bearer {await make_token()}"
        assert (await client.get(TOKENS)).status_code == 200

    async def test_a_guesser_can_not_change_address_with_a_header(
        self, make_client: MakeClient
    ) -> None:
        client = make_client(rate_limit_login="2/hour", peer="198.51.100.1")
        assert await guesses(client, 4, forwarded=True) == [401, 401, 429, 429]

    async def test_behind_a_proxy_each_client_is_one(self, make_client: MakeClient) -> None:
        client = make_client(
            rate_limit_login="1/hour", peer="10.1.2.3", trusted_proxies=("10.0.0.0/8",)
        )
        assert await guesses(client, 3, forwarded=True) == [401, 401, 401]


async def guesses(client: httpx.AsyncClient, count: int, *, forwarded: bool = False) -> list[int]:
    """The statuses of wrong tokens, each from another address if one believes the header."""
    found = []
    for number in range(count):
        headers = {"Authorization": f"Bearer drydock_{number:032x}_{number:064x}"}
        if forwarded:
            headers["X-Forwarded-For"] = f"203.0.113.{number}"
        found.append((await client.get(TOKENS, headers=headers)).status_code)
    return found
