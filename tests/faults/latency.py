"""How long requests take, before and during a fault, on a machine that has other work as well."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx
import psycopg

from tests.service import Service

Request = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]

LIVE = "/health/live"
PAUSE = 0.05  # seconds between one answer and the next request of its kind


@dataclass
class Sample:
    """What was seen of one kind of request."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def excess(self) -> float:
        """What the slowest took beyond the median."""
        return max(self.seconds) - self.median


@dataclass
class Seen:
    """The kinds of requests, and the controls, which have nothing to do with what is missing.

    One asks the app and nobody else, one is a transaction of the test's own.
    """

    kinds: dict[str, Sample]
    controls: tuple[Sample, Sample] = field(default_factory=lambda: (Sample(), Sample()))

    def assert_answered(self, **expected: int) -> None:
        """Every request of a kind got this status."""
        for name, status in expected.items():
            assert set(self.kinds[name].statuses) == {status}, (name, self.kinds[name].statuses)

    def assert_no_slower_than(self, usual: "Seen", *, by: float) -> None:
        """No request took longer than the usual median and `by` seconds more.

        The excess of both controls is granted on top: they waited for a core or the disk, and
        so did the requests.
        """
        granted = sum(control.excess for control in self.controls)
        for name, sample in self.kinds.items():
            longer = max(sample.seconds) - usual.kinds[name].median
            assert longer <= by + granted, (
                f"{name}: {longer:.3f} s longer than the median of "
                f"{usual.kinds[name].median:.3f} s; granted for the machine: {granted:.3f} s"
            )


async def watch(
    service: Service, client: httpx.AsyncClient, kinds: Mapping[str, Request], *, seconds: float
) -> Seen:
    """Send each kind of request again and again, all kinds at the same time."""
    until = time.monotonic() + seconds
    seen = Seen({name: Sample() for name in kinds})

    async def repeat(ask: Callable[[], Awaitable[int]], sample: Sample) -> None:
        while time.monotonic() < until:
            started = time.monotonic()
            status = await ask()
            sample.seconds.append(time.monotonic() - started)
            sample.statuses[status] += 1
            await asyncio.sleep(PAUSE)

    def sending(request: Request) -> Callable[[], Awaitable[int]]:
        async def send() -> int:
            return (await request(client)).status_code

        return send

    async with await psycopg.AsyncConnection.connect(service.postgres.url) as connection:
        await connection.execute("CREATE TEMPORARY TABLE control (number int)")

        async def transact() -> int:
            await connection.execute("INSERT INTO control VALUES (1)")
            await connection.commit()
            return 0

        live, transaction = seen.controls
        async with asyncio.TaskGroup() as parallel:
            parallel.create_task(repeat(sending(lambda http: http.get(LIVE)), live))
            parallel.create_task(repeat(transact, transaction))
            for name, request in kinds.items():
                parallel.create_task(repeat(sending(request), seen.kinds[name]))
    return seen
