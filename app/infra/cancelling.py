"""Ending tasks for sure."""

import asyncio
from collections.abc import Iterable
from typing import Any

CANCEL_AGAIN = 1.0  # seconds


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks again and again until all have ended.

    Before Python 3.12 asyncio.wait_for, which redis-py uses, may swallow a cancellation.
    """
    cancelled = left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN)
    await asyncio.gather(*cancelled, return_exceptions=True)
