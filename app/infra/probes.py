"""One question to a dependency, asked so that the asking harms neither side."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

import structlog
from pydantic import BaseModel

log = structlog.get_logger(__name__)

LIMIT = 1.5  # seconds a check may take: with all else an answer comes within two
FRESH = 1.0  # seconds that a result serves further probes


class Status(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class Check(BaseModel):
    status: Status
    latency_ms: float | None = None
    revision: str | None = None
    error: str | None = None


class Unwell(Exception):
    """A check's finding, in words for an operator."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.error)
        self.check = check


class Probe:
    """One check: single-flight, remembered for a second, bounded in time."""

    def __init__(self, run: Callable[[], Awaitable[Check]]) -> None:
        self._run = run
        self._result: Check | None = None
        self._until = 0.0
        self._flight: asyncio.Task[Check] | None = None

    async def __call__(self) -> Check:
        if self._result is not None and time.monotonic() < self._until:
            return self._result
        if self._flight is None:
            self._flight = asyncio.create_task(self._measure())
            self._flight.add_done_callback(self._land)
        return await asyncio.shield(self._flight)

    def _land(self, flight: "asyncio.Task[Check]") -> None:
        self._flight = None
        if not flight.cancelled() and flight.exception() is None:
            self._result = flight.result()
            self._until = time.monotonic() + FRESH

    async def _measure(self) -> Check:
        started = time.perf_counter()
        running = asyncio.ensure_future(self._run())
        done, _ = await asyncio.wait({running}, timeout=LIMIT)
        if not done:
            # Not awaited: the driver's own clean-up would wait for the frozen server again.
            running.cancel()
            running.add_done_callback(forget)
            return Check(status=Status.UNAVAILABLE, error=f"no answer within {LIMIT} s")
        error = running.exception()
        if isinstance(error, Unwell):
            return error.check
        if error is not None:
            log.info("check_failed", error=type(error).__name__, detail=str(error)[:200])
            return Check(status=Status.UNAVAILABLE, error=type(error).__name__)
        check = running.result()
        check.latency_ms = round((time.perf_counter() - started) * 1000, 2)
        return check


def forget(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not report it as lost
