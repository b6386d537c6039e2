"""Ctrl-C and its relatives: the first one asks us to stop, the second to kill.

The handler only counts. An exception out of a signal handler could strike between the
start of a child and the note of its pid; here it comes up in `pause`, where nothing is
half done.
"""

import signal
import time
from types import FrameType, TracebackType
from typing import Self

from dev.errors import Interrupted
from dev.processes import Patience

# SIGHUP: the terminal was closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# So long at most between Ctrl-C and the first reaction.
SLICE_SECONDS = 0.1


class Interrupts(Patience):
    """Waits that end when somebody asks us to stop."""

    def __init__(self) -> None:
        """Count from zero."""
        self._heard = 0
        self._answered = False

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._before = {number: signal.signal(number, self._count) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self._heard += 1

    def pause(self, seconds: float) -> None:
        """Wait; raise Interrupted, once, when an order has come."""
        end = time.monotonic() + seconds
        while True:
            if self._heard and not self._answered:
                self._answered = True
                raise Interrupted
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, SLICE_SECONDS))

    def is_over(self) -> bool:
        """Whether a second order has come."""
        return self._heard > 1
