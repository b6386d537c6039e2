"""Polls until a condition holds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

T = TypeVar("T")

# Ten times what the slowest of these waits takes on two idle cores. It decides nothing about speed:
# `tests.pace.within` judges a promise in seconds.
PATIENCE = 60.0  # seconds

# A service that starts, stops or is frozen fails a request in one of these ways.
NOT_YET = (httpx.TransportError,)


def until(look: Callable[[], T], *, within: float = PATIENCE, every: float = 0.1) -> T:
    """Return what `look` finds once that is truthy.

    A connection that fails counts as not yet. After `within` seconds it raises `AssertionError`
    with what it saw last.
    """
    limit = time.monotonic() + within
    while True:
        found: object
        try:
            found = answer = look()
            if answer:
                return answer
        except NOT_YET as error:
            found = error
        if time.monotonic() > limit:
            raise AssertionError(f"not within {within} s; last seen: {found!r}")
        time.sleep(every)


async def eventually(
    what: str, holds: Callable[[], Awaitable[bool]], *, seconds: float = PATIENCE
) -> None:
    """`until`, for what has to be awaited."""
    limit = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        await asyncio.sleep(0.02)
