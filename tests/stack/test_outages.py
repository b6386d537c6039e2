"""A dependency that freezes, a process that hangs, clients that send too much or never finish."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import httpx
import pytest

from tests.pace import Stopwatch, within
from tests.polling import until
from tests.stack.images import ONE, Images
from tests.stack.raw import connect
from tests.stack.stack import Stack, is_ready, signal_worker

LIMIT = 2.0  # seconds within which probes answer, and notice
HUNG = 10  # seconds until gunicorn replaces a silent worker, 30 by default; loading takes 2
SLOW_CLIENTS = 500
# Each client sends this at once, and then one byte after the other.
HALF_A_HEAD = b"POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_A_BODY = (
    b"POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)


@contextmanager
def paused(stack: Stack, service: str) -> Iterator[None]:
    container = stack.container(service)
    container.pause()
    try:
        yield
    finally:
        container.unpause()


class Monitor(NamedTuple):
    """A client whose requests are timed."""

    client: httpx.Client
    stopwatch: Stopwatch

    def asks(self, path: str) -> int:
        """Return the status."""
        with self.stopwatch.measure(path):
            return self.client.get(path).status_code

    def sees(self, path: str, status: int, *, at_once: bool = True) -> None:
        """Wait until it answers so. `at_once` includes this wait in what is timed."""
        with self.stopwatch.measure(f"{path} becomes {status}") if at_once else nullcontext():
            until(lambda: self.asks(path) == status)


@pytest.fixture
def monitor(stack: Stack) -> Iterator[Monitor]:
    """All that it measures must take at most `LIMIT`."""
    with stack.client() as client:
        until(lambda: client.get("/health").status_code == 200)
        with within(LIMIT) as stopwatch:
            yield Monitor(client, stopwatch)


class TestFrozen:
    """Probes notice a frozen server within two seconds, and its return as fast. None restarts."""

    @pytest.mark.parametrize(("service", "ready"), [("db", 503), ("redis", 200)])
    def test_probes_tell(self, stack: Stack, monitor: Monitor, service: str, ready: int) -> None:
        before = stack.starts()
        with paused(stack, service):
            monitor.sees("/health", 503)
            monitor.sees("/health/ready", ready)
            assert monitor.asks("/health/live") == 200
        monitor.sees("/health", 200)
        assert monitor.asks("/health/ready") == 200
        assert stack.starts() == before

    @pytest.mark.long
    def test_a_long_time_restarts_nothing(self, stack: Stack, monitor: Monitor) -> None:
        before = stack.starts()
        with paused(stack, "db"):
            until(lambda: health_of(stack, "app") == "unhealthy")
            assert monitor.asks("/health/live") == 200
        monitor.sees("/health", 200)
        stack.until_healthy("app")
        assert stack.starts() == before


class TestUnreachableRedis:
    """Without a network its name is unknown and its address silent. Nothing else gets slow."""

    def test_the_rest_goes_on(self, stack: Stack, monitor: Monitor) -> None:
        before, network = stack.starts(), f"{stack.name}_back"
        monitor.client.headers["Authorization"] = f"Bearer {stack.make_token('tokens:write')}"
        redis = stack.container("redis")
        stack.docker.network.disconnect(network, redis)
        try:
            monitor.sees("/health", 503)
            for _ in range(20):
                # Its rate limit is counted without Redis.
                assert monitor.asks("/api/v1/tokens") == 200
                assert monitor.asks("/health/ready") == 200
        finally:
            stack.docker.network.connect(network, redis, alias="redis")
        monitor.sees("/health", 200, at_once=False)
        assert stack.starts() == before


def health_of(stack: Stack, service: str) -> str | None:
    health = stack.container(service).state.health
    return health.status if health else None


@pytest.mark.long
class TestHungProcess:
    """A worker process that no longer gets through its event loop is replaced."""

    def test_it_is_replaced(self, stack: Stack, images: Images) -> None:
        options = f"--timeout {HUNG}"
        with stack.beside(images.name(ONE), GUNICORN_CMD_ARGS=options) as container:
            until(partial(is_ready, container))
            stopped = signal_worker(container, "STOP")
            until(lambda: "WORKER TIMEOUT" in str(container.logs()))
            until(partial(is_ready, container))
            assert signal_worker(container, "CONT") != stopped


@pytest.mark.long
class TestSlowClients:
    """Clients that never finish their request keep nobody else from being answered."""

    @pytest.mark.parametrize("start", [HALF_A_HEAD, HALF_A_BODY], ids=["head", "body"])
    def test_health_answers(self, stack: Stack, monitor: Monitor, start: bytes) -> None:
        port = int(stack.variables["HTTPS_PORT"])
        assert asyncio.run(flood(port, monitor, start)) == SLOW_CLIENTS


async def flood(port: int, monitor: Monitor, start: bytes) -> int:
    """Hold so many half-sent requests, and ask for /health meanwhile; return how many."""
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(SLOW_CLIENTS):
            _, writer = await connect(port)
            writer.write(start)
            writers.append(writer)
        for _ in range(16):
            for writer in writers:
                writer.write(b"x")
            assert await asyncio.to_thread(monitor.asks, "/health") == 200
            await asyncio.sleep(0.25)
        return len(writers)
    finally:
        for writer in writers:
            writer.transport.abort()
