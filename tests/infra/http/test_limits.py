"""Rate limits: who is counted how, what replicas know of each other, and while Redis is down."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some
from redis.asyncio import Redis

from app.config import Settings
from app.errors import RateLimited
from app.infra.http.limits import RateLimiter
from app.infra.lifespan import Resources
from app.infra.redis import CircuitBreaker, make_redis
from tests.conftest import MakeClient, MakeToken
from tests.polling import PATIENCE, eventually
from tests.sockets import unused_port, with_redis_at
from tests.statements import counted_statements

TOKENS = "/api/v1/tokens"


def limiter_of(resources: Resources, rate: str = "3/hour") -> RateLimiter:
    return make_limiter(resources.settings, resources.redis, rate)


def make_limiter(settings: Settings, redis: Redis, rate: str) -> RateLimiter:
    kinds = ("read", "write", "login", "miss")
    rates = {f"rate_limit_{kind}": rate for kind in kinds}
    return RateLimiter(settings.model_copy(update=rates), redis, CircuitBreaker(2))


def allowed(limiter: RateLimiter, caller: str = "ada") -> int:
    """How many of ten requests pass."""
    return sum(passes(limiter, caller) for _ in range(10))


def passes(limiter: RateLimiter, caller: str = "ada") -> bool:
    try:
        limiter.hit("write", caller)
    except RateLimited:
        return False
    return True


def refusal(ask: Callable[[], None]) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        ask()
    return caught.value


class TestCounting:
    """Each caller has a limit for each kind of request, and is told when to try again."""

    async def test_callers_and_kinds_do_not_share(self, resources: Resources) -> None:
        limiter = limiter_of(resources)
        assert [allowed(limiter, caller) for caller in ("ada", "bob")] == [3, 3]
        limiter.hit("read", "ada")
        error = refusal(lambda: limiter.hit("write", "ada"))
        seconds = int(error.headers["Retry-After"])
        assert 1 <= seconds <= 2 * 3600
        assert error.detail == f"More than 3 in 3600 s. Try again in {seconds} s."

    async def test_to_check_counts_nothing(self, resources: Resources) -> None:
        limiter = limiter_of(resources)
        for _ in range(10):
            limiter.check("write", "ada")
        assert allowed(limiter) == 3
        refusal(lambda: limiter.check("write", "ada"))

    async def test_more_callers_than_fit_are_forgotten(
        self, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.http.limits.MOST_CALLERS", 2)
        limiter = limiter_of(resources)
        assert [allowed(limiter, caller) for caller in ("ada", "bob", "cy")] == [3, 3, 3]
        assert [allowed(limiter, caller) for caller in ("bob", "cy")] == [0, 0]

    @given(
        amount=some.integers(1, 20),
        pauses=some.lists(some.floats(0, 70, allow_nan=False), min_size=1, max_size=60),
    )
    def test_it_is_right_about_when_to_try_again(
        self, settings: Settings, amount: int, pauses: list[float]
    ) -> None:
        """A refused caller passes after it has waited as long as it was told."""
        limiter = make_limiter(settings, Redis(), f"{amount}/minute")
        now = 1_000_000_000.0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.infra.http.limits.time.time", lambda: now)
            for pause in pauses:
                now += pause
                try:
                    limiter.hit("write", "ada")
                except RateLimited as error:
                    now += int(error.headers["Retry-After"])
                    limiter.hit("write", "ada")

    @given(pauses=some.lists(some.floats(0, 5, allow_nan=False), min_size=1, max_size=100))
    def test_no_window_holds_more_than_twice_the_limit(
        self, settings: Settings, pauses: list[float]
    ) -> None:
        """The weights assume an even rate. So a burst can exceed the limit, but not by more."""
        limiter = make_limiter(settings, Redis(), "10/minute")
        now, passed = 1_000_000_000.0, []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.infra.http.limits.time.time", lambda: now)
            for pause in pauses:
                now += pause
                if passes(limiter):
                    passed.append(now)
        assert all(sum(end - 60 < one <= end for one in passed) <= 20 for end in passed)


class TestReplicas:
    """All replicas count together, as soon as they have exchanged their counts."""

    async def test_what_one_has_counted_the_other_knows(self, resources: Resources) -> None:
        one, other = limiter_of(resources, "10/hour"), limiter_of(resources, "10/hour")
        for _ in range(4):
            one.hit("write", "ada")
            other.hit("write", "ada")
        await one.share()
        await other.share()
        assert allowed(other) == 2
        await other.share()
        one.hit("write", "ada")  # it has not heard of the last two yet
        await one.share()
        assert not passes(one)

    async def test_they_exchange_by_themselves(self, resources: Resources) -> None:
        limiter = limiter_of(resources)
        async with limiter.sharing():
            limiter.hit("write", "ada")
            await eventually("its count is in Redis", lambda: is_counted(resources.redis))

    async def test_without_redis_each_counts_alone(self, settings: Settings) -> None:
        async with make_redis(with_redis_at(settings, unused_port())) as redis:
            limiter = make_limiter(settings, redis, "3/hour")
            limiter.hit("write", "ada")
            await limiter.share()
            assert allowed(limiter) == 2


async def is_counted(redis: Redis) -> bool:
    return bool(await redis.get(f"limit:write:ada:{time.time() // 3600:.0f}"))


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
            assert 1 <= int(answers[2].headers["retry-after"]) <= 2 * 3600

    async def test_guessing_is_limited_and_does_not_lock_out_a_valid_token(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        client = make_client(rate_limit_login="2/hour", peer="198.51.100.1")
        assert await guess(client, 4) == [401, 401, 429, 429]
        neighbour = make_client(rate_limit_login="2/hour", peer="198.51.100.2")
        assert await guess(neighbour, 1) == [401]
        known = {"Authorization": f"Bearer {await make_token()}"}
        assert (await neighbour.get(TOKENS, headers=known)).status_code == 200
        assert (await client.get(TOKENS, headers=known)).status_code == 200

    async def test_when_guesses_are_used_up_nothing_asks_the_database(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        """A token that no process has seen yet is refused, too: its text may be one more guess."""
        client = make_client(rate_limit_login="2/hour", peer="198.51.100.1")
        await guess(client, 2)
        client.headers["Authorization"] = f"Bearer {await make_token()}"
        with counted_statements() as statements:
            assert (await client.get(TOKENS)).status_code == 429
            assert await guess(client, 1) == [429]
        assert statements == []

    async def test_a_network_of_ipv6_counts_as_one_client(self, make_client: MakeClient) -> None:
        proxy = make_client(
            rate_limit_login="1/hour", peer="10.1.2.3", trusted_proxies=("10.0.0.0/8",)
        )
        for client, status in (("fd00::1", 401), ("fd00::2", 429), ("fd00:0:0:1::1", 401)):
            wrong = {"Authorization": f"Bearer drydock_{0:032x}_{0:064x}"}
            answer = await proxy.get(TOKENS, headers={"X-Forwarded-For": client, **wrong})
            assert answer.status_code == status, client

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


class TestStop:
    """The exchange of counts ends with the service, even if it swallows a cancellation."""

    async def test_it(self, resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.infra.http.limits.SHARE_EVERY", 0)
        monkeypatch.setattr("app.infra.cancelling.CANCEL_AGAIN", 0.01)
        begun = asyncio.Event()
        swallowed: list[bool] = []

        async def share(_limiter: RateLimiter) -> None:
            begun.set()
            if not swallowed:
                try:
                    await asyncio.sleep(PATIENCE)
                except asyncio.CancelledError:
                    swallowed.append(True)

        monkeypatch.setattr(RateLimiter, "share", share)
        async with asyncio.timeout(PATIENCE), limiter_of(resources).sharing():
            await begun.wait()
        assert swallowed
