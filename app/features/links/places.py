"""How many streams or uploads a process takes at the same time, and how many misses a second."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

from app.errors import AppError


class Limit(NamedTuple):
    """`error` is raised with the number that is exceeded. `what` is plural."""

    what: str
    most: int
    most_of_a_token: int
    error: type[AppError]


class Places:
    """Counts what is open in this process."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._open: Counter[UUID] = Counter()  # by token

    @contextmanager
    def taken(self, token_id: UUID) -> Iterator[None]:
        """Count one of the token during the block. Raises the error of the limit."""
        what, most, most_of_a_token, error = self._limit
        if self._open[token_id] >= most_of_a_token:
            raise error(f"This token has {most_of_a_token} {what} open already: let one end.")
        if self._open.total() >= most:
            raise error(f"All {most} {what} that this process takes are in use: try again.")
        self._open[token_id] += 1
        try:
            yield
        finally:
            self._open[token_id] -= 1
            self._open += Counter()  # drops what is zero


class EachSecond:
    """Allows something `most` times in each second."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = 0
        self._left = most

    def take(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, self._most
        self._left -= 1
        return self._left >= 0
