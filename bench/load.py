"""The load: connections that send a request as soon as the last one was answered, and check it.

It is a process of its own, so that it can have its own core: `python -m bench.load` reads a `Job`
from stdin and writes an `Outcome` to stdout. It parses only what it needs, because a slow client
would make all servers look equally slow.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle, islice
from typing import cast

import uvloop

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Exchange:
    """A request as it goes over the wire, and what the answer to it must begin with and hold."""

    request: str
    begins: str
    holds: str = ""


def request(method: str, path: str, *, token: str = "", body: str = "") -> str:
    """A request with the headers that the service reads."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: bench", "Accept: */*"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])


@dataclass(frozen=True)
class Job:
    port: int
    exchanges: Sequence[Exchange]
    connections: int
    warmup: float  # seconds before the counting starts
    seconds: float


@dataclass
class Outcome:
    """`rate` is of the counted time; `answered` and `wrong` are of all."""

    rate: float = 0.0
    answered: int = 0
    wrong: int = 0
    first_wrong: str = ""
    busy: float = 0.0  # the share of a core that the load itself took
    cost: float = 0.0  # seconds that the server worked for an answer; the laboratory knows
    median: float = 0.0  # seconds until an answer, of the counted ones
    p99: float = 0.0


@dataclass
class Run:
    """What the connections of a job share."""

    outcome: Outcome = field(default_factory=Outcome)
    seconds: list[float] = field(default_factory=list)  # of each answer
    going: bool = True


class Connection(asyncio.Protocol):
    def __init__(self, run: Run, exchanges: Iterator[tuple[bytes, bytes, bytes]]) -> None:
        self.run = run
        self.exchanges = exchanges
        self.received = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        request, self.begins, self.holds = next(self.exchanges)
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self.received = self.received + data if self.received else data
        head = received.find(b"\r\n\r\n") + 4
        length = CONTENT_LENGTH.search(received, 0, head)
        if head < 4 or (length is not None and len(received) < head + int(length[1])):
            return
        outcome = self.run.outcome
        outcome.answered += 1
        self.run.seconds.append(time.perf_counter() - self.sent)
        if not (received.startswith(self.begins) and self.holds in received):
            outcome.wrong += 1
            outcome.first_wrong = outcome.first_wrong or received.decode("latin-1")
        self.received = b""
        if self.run.going:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if self.run.going:
            self.run.outcome.wrong += 1
            self.run.outcome.first_wrong = "the server closed a connection"
        self.closed.set_result(None)


async def load(job: Job) -> Outcome:
    """Every request is answered before this returns, so that both sides have counted the same."""
    run = Run()
    loop = asyncio.get_running_loop()
    encoded = [(e.request.encode(), e.begins.encode(), e.holds.encode()) for e in job.exchanges]
    connections = []
    for number in range(job.connections):
        # Each begins elsewhere in the list, so that they don't go through it side by side.
        start = number * len(encoded) // job.connections
        exchanges = islice(cycle(encoded), start, None)
        make = partial(Connection, run, exchanges)
        _, connection = await loop.create_connection(make, "127.0.0.1", job.port)
        connections.append(connection)
    await asyncio.sleep(job.warmup)
    before, started, worked = run.outcome.answered, time.perf_counter(), time.process_time()
    await asyncio.sleep(job.seconds)
    elapsed = time.perf_counter() - started
    run.outcome.rate = (run.outcome.answered - before) / elapsed
    run.outcome.busy = (time.process_time() - worked) / elapsed
    counted = sorted(run.seconds[before : run.outcome.answered])
    if counted:
        run.outcome.median = counted[len(counted) // 2]
        run.outcome.p99 = counted[len(counted) * 99 // 100]
    run.going = False
    await asyncio.wait_for(asyncio.gather(*(each.closed for each in connections)), timeout=30)
    return run.outcome


def main() -> None:
    given = json.load(sys.stdin)
    exchanges = [Exchange(**exchange) for exchange in given.pop("exchanges")]
    print(json.dumps(asdict(uvloop.run(load(Job(exchanges=exchanges, **given))))))


if __name__ == "__main__":
    main()
