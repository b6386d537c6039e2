"""A health probe: runs one check with a time limit and shares its result between callers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from enum import StrEnum
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel

log = structlog.get_logger(__name__)

T = TypeVar("T")

LIMIT = 1.5  # seconds a check may take; the whole answer then comes within two
FRESH = 1.0  # seconds that a result is cached


class Status(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class Check(BaseModel):
    status: Status
    latency_ms: float | None = None
    revision: str | None = None
    error: str | None = None


class Probe:
    """Runs one check at most once a second, for at most 1.5 s. Callers share the result.

    A check that raises or takes too long is reported as unavailable. The log has the reason, each
    time that the status changes.
    """

    def __init__(self, name: str, run: Callable[[], Awaitable[Check]]) -> None:
        self._name = name
        self._run = run
        self._status = Status.OK
        self._result: Check | None = None
        self._fresh_until = 0.0
        self._running: asyncio.Task[Check] | None = None

    async def __call__(self) -> Check:
        if self._result is not None and time.monotonic() < self._fresh_until:
            return self._result
        if self._running is None:
            # In a context of its own: else its log lines would carry the first caller's request id.
            self._running = asyncio.create_task(self._measure(), context=Context())
            self._running.add_done_callback(self._store)
        # A caller that leaves must not cancel the check of the others.
        return await asyncio.shield(self._running)

    def _store(self, task: "asyncio.Task[Check]") -> None:
        self._running = None
        if not task.cancelled() and task.exception() is None:
            self._result = task.result()
            self._fresh_until = time.monotonic() + FRESH

    async def _measure(self) -> Check:
        started = time.perf_counter()
        finished = await finish_within(LIMIT, self._run())
        detail = None
        if finished is None:
            check = Check(status=Status.UNAVAILABLE, error=f"no answer within {LIMIT} s")
        elif (error := finished.exception()) is not None:
            detail = str(error)[:200]
            check = Check(status=Status.UNAVAILABLE, error=type(error).__name__)
        else:
            check = finished.result()
        if check.status is Status.OK:
            check.latency_ms = round((time.perf_counter() - started) * 1000, 2)
        self._log_change(check, detail)
        return check

    def _log_change(self, check: Check, detail: str | None) -> None:
        before, self._status = self._status, check.status
        if check.status is before:
            return
        if check.status is Status.OK:
            log.info("check_recovered", check=self._name)
        else:
            log.warning(
                "check_failed",
                check=self._name,
                status=check.status,
                error=check.error,
                detail=detail,
            )


async def finish_within(limit: float, work: Awaitable[T]) -> "asyncio.Future[T] | None":
    """Run `work` for at most `limit` seconds. Returns the finished task; None if it took longer.

    In that case `work` is cancelled but not awaited: the clean-up of a database driver can take
    much longer than the limit.
    """
    running = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({running}, timeout=limit)
    if done:
        return running
    running.cancel()
    running.add_done_callback(ignore_result)
    return None


def ignore_result(task: "asyncio.Future[Any]") -> None:
    """Retrieve the exception of a task that nobody awaits: asyncio would log it otherwise."""
    if not task.cancelled():
        task.exception()
