"""How long requests take, before and during a fault, on a machine that has other work as well."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx

Request = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]

# Asks nobody: whatever this takes is the machine's doing, not that of a missing dependency.
CONTROL = "/health/live"
PAUSE = 0.02  # seconds between one answer and the next request of its kind


@dataclass
class Sample:
    """What was seen of one kind of request."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass
class Seen:
    kinds: dict[str, Sample]
    control: Sample

    def assert_answered(self, **expected: int) -> None:
        """Every request of a kind got this status."""
        for name, status in expected.items():
            assert set(self.kinds[name].statuses) == {status}, (name, self.kinds[name].statuses)

    def assert_no_slower_than(self, usual: "Seen", *, by: float) -> None:
        """No request took longer than the usual median and `by` seconds more.

        What the slowest control took beyond its own median is granted on top: it waited for a
        core, and so did they.
        """
        granted = max(self.control.seconds) - usual.control.median
        for name, sample in self.kinds.items():
            longer = max(sample.seconds) - usual.kinds[name].median
            assert longer <= by + granted, (
                f"{name}: {longer:.3f} s longer than the median of "
                f"{usual.kinds[name].median:.3f} s; the control {granted:.3f} s"
            )


async def watch(client: httpx.AsyncClient, kinds: Mapping[str, Request], *, seconds: float) -> Seen:
    """Send each kind of request again and again, all kinds at the same time."""
    until = time.monotonic() + seconds
    seen = Seen({name: Sample() for name in kinds}, Sample())

    async def repeat(request: Request, sample: Sample) -> None:
        while time.monotonic() < until:
            started = time.monotonic()
            answer = await request(client)
            sample.seconds.append(time.monotonic() - started)
            sample.statuses[answer.status_code] += 1
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as parallel:
        parallel.create_task(repeat(lambda http: http.get(CONTROL), seen.control))
        for name, request in kinds.items():
            parallel.create_task(repeat(request, seen.kinds[name]))
    return seen
