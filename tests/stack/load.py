"""A paced load of many small requests, which counts those that were in flight and got no answer.

Open loop: requests leave on time however slow the answers are. Connections are kept alive as a
browser does; one that the server closed while idle is opened anew before a request is sent on it.
When a server closes an idle connection while a GET is on its way to it, the GET is sent again on a
new one, once, as every client does (RFC 9112, 9.3.1); a POST is lost then, and counted.
"""

import asyncio
import json
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

RATE = 200  # requests a second
CONNECTIONS = 40  # each sends at most five a second: room for an answer that takes 0.2 s
# One of so many requests makes a link. They are the ones that must not be repeated unseen.
POST_EVERY = int(os.environ.get("STACK_POST_EVERY", "20"))
MADE = "https://example.com/made-under-load"
LIMIT = 30.0  # seconds until an answer counts as lost


@dataclass
class Outcome:
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    # Answered, with what is neither a redirect nor a new link.
    wrong: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    retried: int = 0
    slowest: float = 0.0
    clicks: int = 0

    @property
    def sent(self) -> int:
        return self.statuses.total() + len(self.lost)

    def __str__(self) -> str:
        return (
            f"{self.sent} requests: {len(self.lost)} lost, {len(self.wrong)} answered wrongly, "
            f"{self.retried} sent again by the client, slowest {self.slowest:.2f} s"
        )


@dataclass
class Target:
    port: int
    token: str
    slugs: list[str]

    def redirect(self, number: int) -> bytes:
        slug = self.slugs[number % len(self.slugs)]
        return f"GET /{slug} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def post(self) -> bytes:
        body = json.dumps({"url": MADE}).encode()
        head = (
            "POST /api/v1/links HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Connection:
    """One client: a request at a time over a connection that is kept."""

    def __init__(self, target: Target, outcome: Outcome) -> None:
        self._target = target
        self._outcome = outcome
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and not self._streams[0].at_eof():
            return self._streams
        self.close()
        self._streams = await asyncio.open_connection(
            "127.0.0.1", self._target.port, ssl=self._context, server_hostname="localhost"
        )
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def ask(self, number: int) -> None:
        posts = number % POST_EVERY == 0
        what = "POST" if posts else "GET"
        message = self._target.post() if posts else self._target.redirect(number)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(LIMIT):
                reused = self._streams is not None
                try:
                    status, body = await self._exchange(message)
                except (ConnectionError, asyncio.IncompleteReadError):
                    if posts or not reused:
                        raise
                    self._outcome.retried += 1
                    self.close()
                    status, body = await self._exchange(message)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            took = time.perf_counter() - started
            self._outcome.lost.append(f"{what}: {type(error).__name__}: {error} ({took:.2f} s)")
            self.close()
            return
        took = time.perf_counter() - started
        self._outcome.slowest = max(self._outcome.slowest, took)
        self._outcome.statuses[status] += 1
        if status == 302:
            self._outcome.clicks += 1
        if status not in {201, 302}:
            self._outcome.wrong.append(f"{what}: {status} ({took:.2f} s)")
        if status == 201:
            self._outcome.made.append(json.loads(body)["slug"])

    async def _exchange(self, message: bytes) -> tuple[int, bytes]:
        reader, writer = await self._open()
        writer.write(message)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        first, _, rest = head.partition("\r\n")
        fields = dict(line.split(": ", 1) for line in rest.splitlines() if ": " in line)
        if fields.get("transfer-encoding") == "chunked":
            body = await _read_chunks(reader)
        else:
            body = await reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection") == "close":
            self.close()
        return int(first.split()[1]), body


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def _run(target: Target, outcome: Outcome, stop: threading.Event) -> None:
    free = asyncio.Queue[Connection]()
    everyone = [Connection(target, outcome) for _ in range(CONNECTIONS)]
    for connection in everyone:
        free.put_nowait(connection)
    started = time.perf_counter()
    number = 0

    async def ask(number: int) -> None:
        connection = await free.get()
        try:
            await connection.ask(number)
        finally:
            free.put_nowait(connection)

    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            number += 1
            await asyncio.sleep(max(0.0, started + number / RATE - time.perf_counter()))
            group.create_task(ask(number))
    for connection in everyone:
        connection.close()


@contextmanager
def under_load(target: Target, *, seconds: float) -> Iterator[Outcome]:
    """Load it during the block, and for so many seconds at least; then the outcome is complete."""
    outcome = Outcome()
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(_run(target, outcome, stop))
        except BaseException as error:  # noqa: BLE001 -- raised again below, in the test's thread
            failures.append(error)

    thread = threading.Thread(target=work)
    until = time.monotonic() + seconds
    thread.start()
    try:
        time.sleep(min(2.0, seconds / 4))  # the load is steady before anything happens
        yield outcome
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        stop.set()
        thread.join(LIMIT + 5)
    if failures:
        raise failures[0]
