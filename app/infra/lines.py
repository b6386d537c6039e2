"""Writing log lines to stdout, one system call for all that a turn of the event loop logged."""

import asyncio
import atexit
import threading
from typing import BinaryIO


class LineWriter:
    """What structlog calls a logger: takes rendered lines.

    A write for every line is most of what a request's log line costs. So the lines of one turn of
    the event loop are written together, at its end; a warning and worse at once, with what came
    before it. A SIGKILL can lose the lines of the turn it hits, and no older ones.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._flushing_loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        atexit.register(self.flush)

    def info(self, line: bytes) -> None:
        self._lines.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()  # a command, or a thread: no turn to wait for
            return
        if self._flushing_loop is not loop:
            self._flushing_loop = loop
            loop.call_soon(self.flush)

    def error(self, line: bytes) -> None:
        self._lines.append(line)
        self.flush()

    debug = info
    warning = critical = exception = error

    def flush(self) -> None:
        with self._lock:
            self._flushing_loop = None
            lines, self._lines = self._lines, []
            if lines:
                self._stream.write(b"\n".join(lines) + b"\n")
                self._stream.flush()
