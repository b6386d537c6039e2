"""What the launcher prints: lines with the name of who speaks in front."""

import os
import subprocess
import sys
import threading
from typing import IO

WIDTH = len("postgres")
COLOURS = {"app": 36, "worker": 35, "migrate": 33, "dev": 32}

_one_at_a_time = threading.Lock()


def is_coloured() -> bool:
    """Whether a person with a colour terminal reads along. https://no-color.org"""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def write(data: bytes) -> None:
    """Write whole lines. Where the reader is gone there is nobody left to tell."""
    with _one_at_a_time:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError:  # a closed pipe or terminal; what runs must still be stopped in order
            return


def prefix(name: str) -> bytes:
    """Return the name as it stands before each line."""
    text = f"{name:>{WIDTH}} | "
    return (f"\033[{COLOURS[name]}m{text}\033[0m" if is_coloured() else text).encode()


def say(text: str) -> None:
    """Print in the launcher's own name."""
    for line in text.splitlines():
        write(prefix("dev") + line.encode() + b"\n")


def follow(name: str, process: subprocess.Popen[bytes]) -> threading.Thread:
    """Print what the process says, in its name, until the last holder of its output ends."""
    if process.stdout is None:
        message = f"the output of {name} is not a pipe"
        raise ValueError(message)
    thread = threading.Thread(target=_copy, args=(name, process.stdout), daemon=True)
    thread.start()
    return thread


def _copy(name: str, source: IO[bytes]) -> None:
    start = prefix(name)
    with source:
        for line in source:
            write(start + line.rstrip(b"\r\n") + b"\n")
