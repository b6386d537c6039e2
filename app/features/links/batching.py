"""Batching: concurrent requests share one round trip or transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.errors import Overloaded

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    answer: "asyncio.Future[Answer]"


class Batcher(Generic[Item, Answer]):
    """Runs one batch at a time. Items that arrive meanwhile form the next batch.

    A single caller does not wait for others. `run` gets the items and returns the answers in the
    same order. If it raises, each caller of that batch gets the exception, and so do those who
    wait: what failed may have taken long, and would fail again. So nobody waits for two failures.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[list[Answer]]],
        *,
        largest: int,
        most_waiting: int,
    ) -> None:
        self._run = run
        self._largest = largest
        self._most_waiting = most_waiting
        self._waiting: list[_Waiting[Item, Answer]] = []
        self._sender: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """The answer to the item. Raises `Overloaded` at once if too many wait."""
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("Too many requests wait for the same. Try again.")
        waiting: _Waiting[Item, Answer] = _Waiting(item, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._sender is None:
            # In a context of its own: else its log lines would carry the first caller's request id.
            self._sender = asyncio.create_task(self._send_all(), context=Context())
        return await waiting.answer

    async def close(self) -> None:
        """Wait until all items are answered."""
        if self._sender is not None:
            await self._sender

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._largest]
                del self._waiting[: self._largest]
                await self._send(batch)
        finally:
            self._sender = None

    async def _send(self, batch: list[_Waiting[Item, Answer]]) -> None:
        try:
            answers = await self._run([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 -- each caller gets it
            batch += self._waiting
            self._waiting.clear()
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        except BaseException:
            for waiting in batch:
                waiting.answer.cancel()
            raise
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
