"""Measures how long requests take, before and during a fault, on a busy machine."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import httpx
import psycopg

from tests.service import Service

Request = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]

LIVE = "/health/live"
PAUSE = 0.05  # seconds between one answer and the next request of its kind


@dataclass
class Sample:
    """The answers to one kind of request."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def excess(self) -> float:
        """How much longer than the median the slowest took."""
        return max(self.seconds) - self.median


@dataclass
class Seen:
    """The kinds of requests, and two controls that do not depend on what is down.

    One control is a request that asks no server; one is a transaction of the test itself.
    """

    kinds: dict[str, Sample]
    controls: tuple[Sample, Sample] = field(default_factory=lambda: (Sample(), Sample()))

    def assert_answered(self, **expected: int) -> None:
        """Every request of a kind was answered with this status."""
        for name, status in expected.items():
            assert set(self.kinds[name].statuses) == {status}, (name, self.kinds[name].statuses)

    def assert_no_slower_than(self, usual: "Seen", *, by: float) -> None:
        """No request took longer than the usual median and `by` seconds more.

        The excess of both controls is allowed on top: it shows how busy the machine was.
        """
        allowed = sum(control.excess for control in self.controls)
        for name, sample in self.kinds.items():
            longer = max(sample.seconds) - usual.kinds[name].median
            assert longer <= by + allowed, (
                f"{name}: {longer:.3f} s longer than the median of "
                f"{usual.kinds[name].median:.3f} s; allowed for the machine: {allowed:.3f} s"
            )


async def watch(
    service: Service, client: httpx.AsyncClient, kinds: Mapping[str, Request], *, seconds: float
) -> Seen:
    """Send requests of all kinds at the same time, each kind one after the other."""
    until = time.monotonic() + seconds
    seen = Seen({name: Sample() for name in kinds})

    async def repeat(ask: Callable[[], Awaitable[int]], sample: Sample) -> None:
        while time.monotonic() < until:
            started = time.monotonic()
            status = await ask()
            sample.seconds.append(time.monotonic() - started)
            sample.statuses[status] += 1
            await asyncio.sleep(PAUSE)

    async def send(request: Request) -> int:
        return (await request(client)).status_code

    async with await psycopg.AsyncConnection.connect(service.owner_url) as connection:
        await connection.execute("CREATE TEMPORARY TABLE control (number int)")

        async def transact() -> int:
            await connection.execute("INSERT INTO control VALUES (1)")
            await connection.commit()
            return 0

        live, transaction = seen.controls
        async with asyncio.TaskGroup() as parallel:
            parallel.create_task(repeat(partial(send, lambda http: http.get(LIVE)), live))
            parallel.create_task(repeat(transact, transaction))
            for name, request in kinds.items():
                parallel.create_task(repeat(partial(send, request), seen.kinds[name]))
    return seen
