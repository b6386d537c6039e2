"""Redis: clients that fail fast, and the circuit breaker for a Redis that fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress

import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from app.config import Settings
from app.infra.lifespan import Resources
from app.infra.redis import LONGEST_STALL, RETRY_EVERY, CircuitBreaker, RedisUnavailable, make_redis
from tests.live import redis_admin
from tests.logs import captured_logs
from tests.polling import PATIENCE
from tests.sockets import frozen_server, unused_port, with_redis_at

LIMIT = 0.1
MANY_TIMES = 30  # a busy machine may exceed a limit by this factor; the defaults take longer


@asynccontextmanager
async def away(settings: Settings) -> AsyncIterator[Redis]:
    """A client of a Redis that refuses every connection."""
    async with make_redis(with_redis_at(settings, unused_port())) as redis:
        yield redis


async def failure(breaker: CircuitBreaker, command: Awaitable[object]) -> RedisUnavailable:
    with pytest.raises(RedisUnavailable) as caught:
        await breaker.run(command)
    return caught.value


@pytest.fixture
def breaker() -> CircuitBreaker:
    """Closed, with a limit that a loaded machine keeps."""
    return CircuitBreaker(LIMIT * 20)


@pytest.fixture
async def opened(breaker: CircuitBreaker, settings: Settings) -> CircuitBreaker:
    """Open, after a failure."""
    async with away(settings) as redis:
        await failure(breaker, redis.ping())
    return breaker


class TestBreaker:
    """While Redis fails, one request a second tries it, and the others fail at once."""

    async def test_while_it_is_open_nothing_is_sent(
        self, opened: CircuitBreaker, resources: Resources
    ) -> None:
        opened._open_until += 60
        for _ in range(100):
            error = await failure(opened, resources.redis.incr("asked"))
            assert (str(error), error.applied) == ("the circuit breaker is open", False)
        assert await resources.redis.get("asked") is None

    async def test_after_a_second_one_may_try_and_a_success_closes_it(
        self, opened: CircuitBreaker, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.redis.RETRY_EVERY", 60)
        await asyncio.sleep(RETRY_EVERY + 0.05)
        assert opened.allow()
        assert not opened.allow()
        assert await opened.run(resources.redis.ping(), always=True)
        assert opened.allow()
        assert opened.allow()

    async def test_failure_and_recovery_are_each_logged_once(
        self, breaker: CircuitBreaker, settings: Settings, resources: Resources
    ) -> None:
        with captured_logs() as events:
            async with away(settings) as redis:
                for _ in range(3):
                    with pytest.raises(RedisUnavailable):
                        await breaker.run(redis.ping(), always=True)
            for _ in range(3):
                await breaker.run(resources.redis.ping(), always=True)
        assert [(event["event"], event["log_level"]) for event in events] == [
            ("redis_failing", "warning"),
            ("redis_recovered", "info"),
        ]

    async def test_a_bug_does_not_open_it(self, breaker: CircuitBreaker) -> None:
        with pytest.raises(KeyError):
            await breaker.run(raising(KeyError()))
        assert breaker.allow()


class TestStall:
    """If the event loop stalls, the breaker stays closed. Redis has answered meanwhile."""

    async def test_the_answer_is_read_after_it(self, settings: Settings) -> None:
        opened: list[None] = []
        breaker = CircuitBreaker(LIMIT, on_open=lambda: opened.append(None))
        async with make_redis(settings, timeout=LIMIT + LONGEST_STALL) as redis:
            for turns in range(1, 11):  # of the loop; the command is sent in one of the first
                asking = asyncio.create_task(breaker.run(redis.echo("heard")))
                for _ in range(turns):
                    await asyncio.sleep(0)
                time.sleep(3 * LIMIT)  # noqa: ASYNC251 -- this is the stall
                assert await asking == b"heard"
        assert opened == []

    async def test_a_redis_that_does_not_answer_is_noticed_in_spite_of_it(
        self, settings: Settings
    ) -> None:
        opened: list[None] = []
        breaker = CircuitBreaker(LIMIT, on_open=lambda: opened.append(None))
        with frozen_server() as port:
            async with make_redis(with_redis_at(settings, port), timeout=60) as redis:
                asking = asyncio.create_task(failure(breaker, redis.ping()))
                for _ in range(10):
                    await asyncio.sleep(0)
                    time.sleep(0.05)  # noqa: ASYNC251 -- this is the stall
                assert (await asking).applied is None
        assert opened == [None]


class TestLostCancellation:
    """A command that drops one cancellation is ended by the next. That of others is kept."""

    async def test_the_limit_holds(self) -> None:
        async def drops_the_first() -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(PATIENCE)
            await asyncio.sleep(PATIENCE)

        async with asyncio.timeout(PATIENCE / 2):
            assert (await failure(CircuitBreaker(LIMIT), drops_the_first())).applied is None
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    async def test_who_is_cancelled_meanwhile_ends_so(self) -> None:
        asking = asyncio.create_task(CircuitBreaker(PATIENCE).run(asyncio.sleep(PATIENCE)))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def raising(error: Exception) -> None:
    raise error


class TestApplied:
    """A failure says whether Redis can have executed the command."""

    async def test_no_if_the_connection_or_the_command_was_refused(
        self, breaker: CircuitBreaker, settings: Settings, resources: Resources
    ) -> None:
        await resources.redis.set("text", "a")
        assert (await failure(breaker, resources.redis.incr("text"))).applied is False
        async with away(settings) as redis:
            assert (await failure(CircuitBreaker(2), redis.incr("x"))).applied is False

    @pytest.mark.parametrize(("of_client", "of_breaker"), [(LIMIT, 60), (60, LIMIT)])
    async def test_unknown_if_there_was_no_answer_in_time(
        self, settings: Settings, of_client: float, of_breaker: float
    ) -> None:
        with frozen_server() as port:
            async with make_redis(with_redis_at(settings, port), timeout=of_client) as redis:
                started = time.monotonic()
                error = await failure(CircuitBreaker(of_breaker), redis.incr("x"))
        assert error.applied is None
        assert LIMIT * 0.9 < time.monotonic() - started < LIMIT * MANY_TIMES

    async def test_unknown_if_the_connection_broke(self, breaker: CircuitBreaker) -> None:
        broken = raising(RedisConnectionError("Connection closed by server."))
        assert (await failure(breaker, broken)).applied is None


class TestClient:
    """A client never retries, and waits for a free connection."""

    async def test_a_connection_that_breaks_is_not_tried_again(self, settings: Settings) -> None:
        tries = 0

        async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal tries
            tries += 1
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with make_redis(with_redis_at(settings, port)) as redis:
                with pytest.raises(RedisError):
                    await redis.ping()
        assert tries == 1

    async def test_more_commands_than_connections_wait_for_one(self, migrated: Settings) -> None:
        async with make_redis(migrated, size=2) as redis:
            answers = await asyncio.gather(*(redis.incr("counted") for _ in range(20)))
            with redis_admin(migrated) as admin:
                theirs = [client for client in admin.client_list() if client["user"] == "default"]
                assert len(theirs) == 2
            await redis.delete("counted")
        assert sorted(answers) == list(range(1, 21))


class TestRights:
    """The service's user can't change, empty or stop the server, nor read its settings."""

    @pytest.mark.parametrize(
        "command",
        [
            *("FLUSHALL", "FLUSHDB", "SHUTDOWN NOSAVE", "MODULE LIST", "MONITOR"),
            *("CONFIG SET maxmemory 1", "CONFIG GET requirepass", "ACL SETUSER default +@all"),
            *("REPLICAOF localhost 1", "CLIENT KILL TYPE normal", "KEYS *", "SAVE"),
            "EVAL return(redis.call('flushall')) 0",
        ],
    )
    def test_it_may_not(self, migrated: Settings, command: str) -> None:
        with (
            redis.Redis.from_url(migrated.redis_dsn) as service,
            pytest.raises(ResponseError, match=r"(?i)permission"),
        ):
            service.execute_command(*command.split())
