"""Rate limits: who is counted how, over all replicas, and while Redis is down."""

import asyncio

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


def limiter_of(resources: Resources, rate: str = "3/hour") -> RateLimiter:
    rates = {"rate_limit_read": rate, "rate_limit_write": rate, "rate_limit_login": rate}
    changed = resources.settings.model_copy(update=rates)
    return RateLimiter(changed, resources.redis, resources.breaker)


async def allowed(limiter: RateLimiter, caller: str = "ada") -> int:
    """How many of ten simultaneous requests pass."""
    hits = (limiter.hit("write", caller) for _ in range(10))
    return (await asyncio.gather(*hits, return_exceptions=True)).count(None)


async def refusal(limiter: RateLimiter) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        await limiter.hit("write", "ada")
    return caught.value


class TestCounting:
    """Each caller has a limit for each kind of request, and is told when to try again."""

    async def test_callers_and_kinds_do_not_share_and_replicas_do(
        self, resources: Resources
    ) -> None:
        limiter, replica = limiter_of(resources), limiter_of(resources)
        assert [await allowed(limiter, caller) for caller in ("ada", "bob")] == [3, 3]
        await limiter.hit("read", "ada")
        assert await allowed(replica) == 0
        error = await refusal(replica)
        seconds = int(error.headers["Retry-After"])
        assert 1 <= seconds <= 3600
        assert error.detail == f"More than 3 in 3600 s. Try again in {seconds} s."

    async def test_after_that_time_a_request_passes(self, resources: Resources) -> None:
        limiter = limiter_of(resources, "1/second")
        assert await allowed(limiter) >= 1
        await asyncio.sleep(int((await refusal(limiter)).headers["Retry-After"]))
        await limiter.hit("write", "ada")

    async def test_while_redis_is_down_each_process_counts_for_itself(
        self, settings: Settings
    ) -> None:
        rates = {"rate_limit_write": "3/hour"}
        away = with_redis_at(settings, unused_port()).model_copy(update=rates)
        async with make_redis(away) as redis:
            limiter = RateLimiter(away, redis, CircuitBreaker(0.5))
            assert await allowed(limiter) == 3
            assert (await refusal(limiter)).headers["Retry-After"] == "3600"


class TestCallers:
    """Each token has its own limit. Requests without a valid token count by their address."""

    async def test_tokens_of_one_address_do_not_share(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        client = make_client(rate_limit_write="2/hour")
        for _ in range(2):
            client.headers["Authorization"] = f"Bearer {await make_token()}"
            answers = [await client.get(TOKENS) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert 1 <= int(answers[2].headers["retry-after"]) <= 3600

    async def test_guessing_is_limited_and_does_not_lock_out_a_valid_token(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        client = make_client(rate_limit_login="2/hour", peer="198.51.100.1")
        assert await guess(client, 4) == [401, 401, 429, 429]
        neighbour = make_client(rate_limit_login="2/hour", peer="198.51.100.2")
        assert await guess(neighbour, 1) == [401]
        client.headers["Authorization"] = f"Bearer {await make_token()}"
        assert (await client.get(TOKENS)).status_code == 200

    async def test_behind_a_proxy_each_client_counts_for_itself(
        self, make_client: MakeClient
    ) -> None:
        client = make_client(
            rate_limit_login="1/hour", peer="10.1.2.3", trusted_proxies=("10.0.0.0/8",)
        )
        assert await guess(client, 3) == [401, 401, 401]


async def guess(client: httpx.AsyncClient, count: int) -> list[int]:
    """Send wrong tokens, each with another X-Forwarded-For. Returns the statuses."""
    found = []
    for number in range(count):
        headers = {
            "Authorization": f"Bearer drydock_{number:032x}_{number:064x}",
            "X-Forwarded-For": f"203.0.113.{number}",
        }
        found.append((await client.get(TOKENS, headers=headers)).status_code)
    return found
