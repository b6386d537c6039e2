"""The terminal of `make dev`: it prints each program's lines with its name, and handles Ctrl-C."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import Self

from dev.errors import Interrupted
from dev.processes import Patience

WIDTH = len("postgres")
COLOURS = {"app": 36, "worker": 35, "migrate": 33, "dev": 32}

# SIGHUP: the terminal was closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# The longest delay between Ctrl-C and the reaction.
SLICE_SECONDS = 0.1

_one_at_a_time = threading.Lock()


def is_coloured() -> bool:
    """Whether the terminal has colours and NO_COLOR is not set (https://no-color.org)."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def write(data: bytes) -> None:
    """Write whole lines. Ignore a closed terminal, which `is_read` detects."""
    with _one_at_a_time:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError:
            return


def is_read() -> bool:
    """Whether the terminal or pipe that we write to is still open.

    SIGHUP is not enough: it goes to the first process of the session. That may be `make`, which
    does not pass it on.
    """
    poll = select.poll()
    poll.register(sys.stdout, 0)  # poll always reports errors and hang-ups
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def prefix(name: str) -> bytes:
    text = f"{name:>{WIDTH}} | "
    return (f"\033[{COLOURS[name]}m{text}\033[0m" if is_coloured() else text).encode()


def say(text: str) -> None:
    for line in text.splitlines():
        write(prefix("dev") + line.encode() + b"\n")


class Follower(threading.Thread):
    """Prints the output of a process with its name, until the output ends."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        super().__init__(name=name, daemon=True)
        self._output = process.stdout
        self.start()

    def run(self) -> None:
        if self._output is None:
            return
        start = prefix(self.name)
        with self._output:
            for line in self._output:
                write(start + line.rstrip(b"\r\n") + b"\n")


class Interrupts(Patience):
    """Waits that Ctrl-C interrupts. The first Ctrl-C stops, the second one kills.

    The signal handler only counts. If it raised, that could happen between the start of a child and
    the note of its pid. So `pause` raises the exception, at a safe point.
    """

    def __init__(self) -> None:
        self._heard = 0
        self._answered = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._count) for number in SIGNALS}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self._heard += 1

    def pause(self, seconds: float) -> None:
        """Wait. Raises Interrupted once, after the first signal."""
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
        return self._heard > 1
