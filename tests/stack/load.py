"""A paced load of many small requests, which counts those that got no answer.

The client keeps its connections alive, as a browser does. A server may close an idle connection
while a GET is on its way on it. Then the client sends the GET once more, on a new connection, as
every client does (RFC 9112, 9.3.1). A POST counts as lost then.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

CONNECTIONS = 40
LIMIT = 30.0  # seconds until an answer counts as lost

log = logging.getLogger("load")

# Builds the request of a number: 1, 2, 3 and so on.
Build = Callable[[httpx.AsyncClient, int], httpx.Request]


@dataclass
class Outcome:
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    # Answered with an error.
    wrong: list[str] = field(default_factory=list)
    # The bodies of what was created: each answer with 201.
    made: list[dict[str, Any]] = field(default_factory=list)
    retried: int = 0
    slowest: float = 0.0

    def check(self, *, held: int = 0) -> None:
        """Each request was answered without an error. How many there were depends on the machine.

        At most `held` requests were held by a process that was killed, and heard 502.
        """
        log.info("%s", self)
        assert self.lost == []
        assert [fault for fault in self.wrong if ": 502 (" not in fault] == []
        assert len(self.wrong) <= held
        assert self.statuses.total() > 0

    def __str__(self) -> str:
        return (
            f"{self.statuses.total()} answers, {len(self.wrong)} of them errors; {len(self.lost)} "
            f"lost, {self.retried} sent again by the client, slowest {self.slowest:.2f} s"
        )


async def _ask(client: httpx.AsyncClient, request: httpx.Request, outcome: Outcome) -> None:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(LIMIT):
            answer = await _send(client, request, outcome)
    except (httpx.TransportError, TimeoutError) as error:
        took = time.perf_counter() - started
        outcome.lost.append(f"{request.method}: {type(error).__name__}: {error} ({took:.2f} s)")
        return
    took = time.perf_counter() - started
    outcome.slowest = max(outcome.slowest, took)
    outcome.statuses[answer.status_code] += 1
    if answer.is_error:
        outcome.wrong.append(f"{request.method}: {answer.status_code} ({took:.2f} s)")
    if answer.status_code == httpx.codes.CREATED:
        outcome.made.append(answer.json())


async def _send(
    client: httpx.AsyncClient, request: httpx.Request, outcome: Outcome
) -> httpx.Response:
    connected = False

    async def trace(event: str, _: object) -> None:
        nonlocal connected
        connected = connected or event == "connection.connect_tcp.started"

    request.extensions["trace"] = trace
    try:
        return await client.send(request)
    except httpx.TransportError:
        if connected or request.method != "GET":
            raise
        outcome.retried += 1
        return await client.send(request)


async def _run(
    url: str, build: Build, rate: float, connections: int, outcome: Outcome, stop: threading.Event
) -> None:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    started, number = time.perf_counter(), 0
    free = asyncio.Semaphore(connections)

    async def ask(request: httpx.Request) -> None:
        async with free:
            if not stop.is_set():  # a slow machine sends fewer requests, and nobody waits
                await _ask(client, request, outcome)

    async with (
        httpx.AsyncClient(base_url=url, verify=False, limits=limits, timeout=LIMIT) as client,
        asyncio.TaskGroup() as group,
    ):
        while not stop.is_set():
            number += 1
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            group.create_task(ask(build(client, number)))


@contextmanager
def under_load(
    url: str, build: Build, *, rate: float, seconds: float, connections: int = CONNECTIONS
) -> Iterator[Outcome]:
    """Send `rate` requests a second during the block, and for so many seconds at least.

    The outcome is complete after the block. A busy machine sends fewer requests than `rate`.
    """
    outcome, stop = Outcome(), threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(_run(url, build, rate, connections, outcome, stop))
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
        thread.join(2 * LIMIT)
        assert not thread.is_alive()
    if failures:
        raise failures[0]
