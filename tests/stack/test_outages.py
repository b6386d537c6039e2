"""A dependency that freezes, a process that hangs, clients that send too much or never finish."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from tests.polling import until
from tests.stack.images import ONE, Images
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


def answer(client: httpx.Client, path: str) -> int:
    """Return the status, which came in time."""
    started = time.monotonic()
    status = client.get(path).status_code
    assert time.monotonic() - started < LIMIT, path
    return status


def becomes(client: httpx.Client, path: str, status: int) -> Callable[[], bool]:
    return lambda: answer(client, path) == status


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        until(becomes(client, "/health", 200), within=30)
        yield client


class TestFrozen:
    """Probes notice a frozen server within two seconds, and its return as fast. None restarts."""

    @pytest.mark.parametrize(("service", "ready"), [("db", 503), ("redis", 200)])
    def test_probes_tell(
        self, stack: Stack, client: httpx.Client, service: str, ready: int
    ) -> None:
        before = stack.starts()
        with paused(stack, service):
            until(becomes(client, "/health", 503), within=LIMIT)
            until(becomes(client, "/health/ready", ready), within=LIMIT)
            assert answer(client, "/health/live") == 200
        until(becomes(client, "/health", 200), within=LIMIT)
        assert answer(client, "/health/ready") == 200
        assert stack.starts() == before

    @pytest.mark.long
    def test_a_long_time_restarts_nothing(self, stack: Stack, client: httpx.Client) -> None:
        before = stack.starts()
        with paused(stack, "db"):
            until(lambda: health_of(stack, "app") == "unhealthy", within=60)
            assert answer(client, "/health/live") == 200
        until(becomes(client, "/health", 200), within=LIMIT)
        stack.until_healthy("app")
        assert stack.starts() == before


class TestUnreachableRedis:
    """Without a network its name is unknown and its address silent. Nothing else gets slow."""

    def test_the_rest_goes_on(self, stack: Stack, client: httpx.Client) -> None:
        before, network = stack.starts(), f"{stack.name}_back"
        client.headers["Authorization"] = f"Bearer {stack.make_token('tokens:write')}"
        redis = stack.container("redis")
        stack.docker.network.disconnect(network, redis)
        try:
            until(becomes(client, "/health", 503), within=LIMIT)
            for _ in range(20):
                assert (
                    answer(client, "/api/v1/tokens") == 200
                )  # its rate limit is counted without Redis
                assert answer(client, "/health/ready") == 200
        finally:
            stack.docker.network.connect(network, redis, alias="redis")
        until(becomes(client, "/health", 200), within=2 * LIMIT)
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
            until(partial(is_ready, container), within=30)
            stopped = signal_worker(container, "STOP")
            until(lambda: "WORKER TIMEOUT" in str(container.logs()), within=30)
            until(partial(is_ready, container), within=30)
            assert signal_worker(container, "CONT") != stopped


@pytest.mark.long
class TestSlowClients:
    """Clients that never finish their request keep nobody else from being answered."""

    @pytest.mark.parametrize("start", [HALF_A_HEAD, HALF_A_BODY], ids=["head", "body"])
    def test_health_answers(self, stack: Stack, client: httpx.Client, start: bytes) -> None:
        port = int(stack.variables["HTTPS_PORT"])
        opened, worst = asyncio.run(flood(port, client, start))
        assert opened == SLOW_CLIENTS
        assert worst < LIMIT


class TestManyHeaders:
    """A header section of a megabyte is refused by the proxy, and no process runs out of memory."""

    def test_eight_at_once(self, stack: Stack, client: httpx.Client) -> None:
        before = stack.starts()
        port = int(stack.variables["HTTPS_PORT"])
        for line in asyncio.run(heads(port, 8)):
            assert line.startswith(b"HTTP/1.1 431 ")
        assert answer(client, "/health") == 200
        assert stack.starts() == before


async def heads(port: int, clients: int) -> list[bytes]:
    """Send 245,000 header lines over each of so many connections; return the status lines."""

    async def send() -> bytes:
        reader, writer = await connect(port)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 245_000 + b"\r\n")
            return await asyncio.wait_for(reader.readline(), 30)
        finally:
            writer.transport.abort()

    return await asyncio.gather(*(send() for _ in range(clients)))


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the proxy, whatever its certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )


async def flood(port: int, client: httpx.Client, start: bytes) -> tuple[int, float]:
    """Hold so many half-sent requests; return how many, and how long /health took at worst."""
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(SLOW_CLIENTS):
            _, writer = await connect(port)
            writer.write(start)
            writers.append(writer)
        worst = 0.0
        for _ in range(16):
            for writer in writers:
                writer.write(b"x")
            started = time.monotonic()
            response = await asyncio.to_thread(client.get, "/health")
            worst = max(worst, time.monotonic() - started)
            assert response.status_code == 200
            await asyncio.sleep(0.25)
        return len(writers), worst
    finally:
        for writer in writers:
            writer.transport.abort()
