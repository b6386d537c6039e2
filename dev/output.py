"""What the launcher prints: lines with the name of who speaks in front."""

import os
import select
import subprocess
import sys
import threading

WIDTH = len("postgres")
COLOURS = {"app": 36, "worker": 35, "migrate": 33, "dev": 32}

_one_at_a_time = threading.Lock()


def is_coloured() -> bool:
    """Whether a colour terminal reads along, and nobody objects (https://no-color.org)."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def write(data: bytes) -> None:
    """Write whole lines. If nobody reads them any more, is_read says so soon enough."""
    with _one_at_a_time:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError:
            return


def is_read() -> bool:
    """Whether the terminal or pipe that we write to still has somebody at its other end.

    A closed terminal sends SIGHUP to the first process of its session alone, which may be a
    `make` that keeps it to itself.
    """
    poll = select.poll()
    poll.register(sys.stdout, 0)  # errors and hang-ups are reported without asking
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def prefix(name: str) -> bytes:
    """Return the name as it stands before each line."""
    text = f"{name:>{WIDTH}} | "
    return (f"\033[{COLOURS[name]}m{text}\033[0m" if is_coloured() else text).encode()


def say(text: str) -> None:
    """Print in the launcher's own name."""
    for line in text.splitlines():
        write(prefix("dev") + line.encode() + b"\n")


class Follower(threading.Thread):
    """Prints what a process says, in its name, until the last holder of its output ends."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        super().__init__(name=name, daemon=True)
        self._output = process.stdout
        self.start()

    def run(self) -> None:
        """Copy line by line."""
        start = prefix(self.name)
        if self._output is None:
            return
        with self._output:
            for line in self._output:
                write(start + line.rstrip(b"\r\n") + b"\n")
