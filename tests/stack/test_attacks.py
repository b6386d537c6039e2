"""Attacks from outside on the production stack. None restarts a container, or costs it memory."""

import asyncio
import re
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from tests.polling import until
from tests.stack.images import Images
from tests.stack.memory import memory, uses_less
from tests.stack.raw import any_certificate, connect
from tests.stack.stack import Stack, signal_worker

ATTACKED = ("app", "proxy")
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
BODY = 65_000  # bytes; MAX_BODY_BYTES allows them
SLOW = (
    b"POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n{" % BODY
)
CLIENTS = 1_500
# More than the proxy may hold. Far more break Docker's own forwarder for ports of 127.0.0.1, which
# has up to six open files for each of them.
IDLE = 3_000
REQUESTS = 240
LONGEST_PATH = 12_000  # bytes; the proxy takes 16 kB of a header section
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Megabytes for buffers and code that are needed once: twice what was measured. The bodies have 97.
ONCE = 15
MALFORMED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="class")
def unharmed(stack: Stack, images: Images) -> Iterator[None]:
    """After the tests no container has restarted, and memory is back within `ONCE`."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # many clients need many sockets
    starts = stack.starts()
    before = {service: memory(stack, images, service) for service in ATTACKED}
    yield
    assert stack.starts() == starts
    for service in ATTACKED:
        most = before[service] + ONCE
        until(partial(uses_less, stack, images, service, most), every=2)
    with stack.client() as client:
        assert client.get("/health").status_code == 200


def port_of(stack: Stack) -> int:
    return int(stack.variables["HTTPS_PORT"])


@pytest.mark.usefixtures("unharmed")
class TestHeads:
    """A header section with too many bytes or lines hears 431."""

    def test_a_megabyte_of_lines(self, stack: Stack) -> None:
        head = HEAD + b"a:\r\n" * 245_000 + b"\r\n"
        assert {status_of(each) for each in answers(port_of(stack), head)} == {431}

    def test_lines_that_only_the_service_counts(self, stack: Stack) -> None:
        head = HEAD + b"a:\r\n" * 3_000 + b"Connection: close\r\n\r\n"
        found = answers(port_of(stack), head)
        assert {status_of(each) for each in found} == {431}
        assert b"headers_too_large" in found[0]

    def test_one_connection_carries_one_request_at_a_time(self, stack: Stack) -> None:
        """HTTP/2 would let one connection send thousands of lines with a byte each."""
        context = any_certificate()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", port_of(stack)), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            assert secured.selected_alpn_protocol() == "http/1.1"


@pytest.mark.usefixtures("unharmed")
class TestLog:
    """Long paths with escape sequences neither flush the logs nor steer the terminal."""

    def test_each_costs_one_short_line(self, stack: Stack) -> None:
        begin = len(log_of(stack))
        path = "/%1b%5d52;c;cm0gLXJm%07%c2%9b2J%e2%80%ae" + "%1b" * (LONGEST_PATH // 3)
        with stack.client() as client:
            heard = {client.get(path).status_code for _ in range(REQUESTS)}
        assert heard == {404}
        until(lambda: log_of(stack).count("cm0gLXJm") >= REQUESTS)
        logged = log_of(stack)[begin:]
        assert len(logged) < REQUESTS * 2_500
        assert CONTROLS.search(logged.replace("\n", "")) is None


def log_of(stack: Stack) -> str:
    return str(stack.container("app").logs())


@pytest.mark.usefixtures("unharmed")
class TestSlowBodies:
    """Thousands of bodies in crumbs take neither the proxy nor the service down."""

    def test_the_rest_hears_503_at_once(self, stack: Stack) -> None:
        with stack.client() as client:
            heard, healthy = asyncio.run(posts_and_health(port_of(stack), client))
        assert healthy == {200}
        # Those that the service works on hear 408 after ten seconds, or nothing yet.
        assert set(heard) <= {503, 408, None}
        assert heard[503] >= CLIENTS / 2


@pytest.mark.usefixtures("unharmed")
class TestIdleClients:
    """Thousands of connections that ask nothing keep nobody out for long."""

    def test_others_are_answered(self, stack: Stack) -> None:
        with stack.client() as client:
            opened, seconds = asyncio.run(idle_and_requests(port_of(stack), client))
        assert opened == IDLE
        # Nobody waits for the idle ones to give up, which takes half a minute and more.
        assert max(seconds) < 10


async def idle_and_requests(port: int, client: httpx.Client) -> tuple[int, list[float]]:
    """Open idle connections, half of them before the handshake; time requests meanwhile."""
    slots = asyncio.Semaphore(100)

    async def opened(number: int) -> asyncio.StreamWriter:
        async with slots:
            if number % 2:
                return (await connect(port))[1]
            return (await asyncio.open_connection("127.0.0.1", port))[1]

    def timed() -> float:
        begin = time.monotonic()
        assert client.get("/health").status_code == 200
        return time.monotonic() - begin

    writers = await asyncio.gather(*[opened(number) for number in range(IDLE)])
    seconds = [await asyncio.to_thread(timed) for _ in range(20)]
    for writer in writers:
        writer.transport.abort()
    return len(writers), seconds


class TestFaultyRequests:
    """What one client does wrong is no fault of the container that got it."""

    def test_malformed_bodies_take_no_container_out(self, stack: Stack) -> None:
        with stack.client() as client:
            alone = seconds_of_ten(client)
            attacked = seconds_of_ten(client, port_of(stack))
        # A container that is taken out for a second after each fault would make this ten seconds.
        assert attacked < 5 + 2 * alone

    def test_a_request_whose_container_dies_is_sent_once(self, stack: Stack) -> None:
        container = stack.container("app")
        found: list[int] = []

        def ask() -> None:
            with stack.client() as client:
                found.append(client.get("/docs", timeout=60).status_code)

        signal_worker(container, "STOP")
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(1)  # until the proxy has sent it
        container.kill()
        # The proxy could send it to the new process.
        stack.up()
        asking.join(60)
        assert found == [502]


def seconds_of_ten(client: httpx.Client, port: int = 0) -> float:
    """How long ten requests take, each after a malformed one if there is a port for it."""
    started = time.monotonic()
    for _ in range(10):
        if port:
            asyncio.run(answer(port, MALFORMED))
        assert client.get("/health/live").status_code == 200
    return time.monotonic() - started


async def answer(port: int, request: bytes) -> bytes:
    """Send it and read the answer, which is short."""
    reader, writer = await connect(port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(65_536), 30)
    finally:
        writer.transport.abort()


def answers(port: int, request: bytes) -> list[bytes]:
    """What eight clients hear that send it at once."""

    async def ask() -> list[bytes]:
        return await asyncio.gather(*(answer(port, request) for _ in range(8)))

    return asyncio.run(ask())


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


async def slow_posts(port: int, clients: int) -> Counter[int | None]:
    """Send so many bodies in crumbs until all are on their way; count what they heard."""
    started = 0
    enough = asyncio.Event()
    few = asyncio.Semaphore(32)  # handshakes at a time, or none would end on a slow machine
    answers: Counter[int | None] = Counter()

    async def post() -> None:
        nonlocal started
        status = None
        async with few:
            reader, writer = await connect(port)
        line = asyncio.ensure_future(reader.readline())
        writer.write(SLOW)
        started += 1
        if started >= clients:
            asyncio.get_running_loop().call_later(3, enough.set)
        for _ in range(200):
            if line.done() or enough.is_set():
                break
            writer.write(b"x" * 100)
            await asyncio.sleep(0.25)
        if line.done() and not line.exception() and line.result():
            status = status_of(line.result())
        line.cancel()
        writer.transport.abort()
        answers[status] += 1

    await asyncio.gather(*(post() for _ in range(clients)))
    return answers


async def posts_and_health(port: int, client: httpx.Client) -> tuple[Counter[int | None], set[int]]:
    """What slow posts hear, and what `/health` answers meanwhile."""
    attack = asyncio.create_task(slow_posts(port, CLIENTS))
    statuses = set()
    while not attack.done():
        response = await asyncio.to_thread(client.get, "/health", timeout=60)
        statuses.add(response.status_code)
        await asyncio.sleep(0.5)
    return attack.result(), statuses
