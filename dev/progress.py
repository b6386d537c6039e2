"""pip with signs of life: it says little that matters and much that doesn't."""

import os
import re
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# Without a terminal each sign is a line of its own: often enough to see that it goes on.
LINE_SECONDS = 5
TAIL_LINES = 25

REQUIREMENT = re.compile(r"^[A-Za-z0-9][\w.-]*(?:\[.*\])?==", re.MULTILINE)
STEP = re.compile(r"^(Collecting|Ignoring|Requirement already satisfied:) ?([A-Za-z0-9][\w.-]*)")


class Display:
    """One line that changes on a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        """Nothing shown yet."""
        self._is_terminal = sys.stderr.isatty()
        self._last = time.monotonic()

    def show(self, text: str) -> None:
        """Show the state of things."""
        if self._is_terminal:
            sys.stderr.write(f"\r\033[K{text}")
        elif time.monotonic() - self._last > LINE_SECONDS:
            self._last = time.monotonic()
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def close(self, text: str) -> None:
        """Show the last state and keep it."""
        sys.stderr.write(f"\r\033[K{text}\n" if self._is_terminal else f"{text}\n")
        sys.stderr.flush()


def show_pip(
    command: Sequence[str | Path], requirements: Path, environment: Mapping[str, str], lock: int
) -> bool:
    """Run pip and show how far it is; return whether it succeeded, after showing its end if not."""
    total = len(REQUIREMENT.findall(requirements.read_text(encoding="utf-8")))
    display, started = Display(), time.monotonic()
    collected, tail, state = 0, deque[str](maxlen=TAIL_LINES), "starting pip"
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, pass_fds=(lock,)
    )
    for line in lines_or_silence(process):
        if line:
            tail.append(line)
        if found := STEP.match(line):
            collected += 1
            state = f"collected {collected} of {total}: {found[2]}"
        elif line.startswith("Installing collected packages"):
            state = f"installing {line.count(',') + 1} packages"
        display.show(f"{state} ({time.monotonic() - started:.0f} s)")
    if process.wait() == 0:
        display.close(
            f"installed what requirements-dev.txt lists in {time.monotonic() - started:.0f} s"
        )
        return True
    display.close("\n".join(tail))
    return False


def lines_or_silence(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield each line of the output, and an empty one for every half second without any."""
    if process.stdout is None:
        return
    rest = b""
    with selectors.DefaultSelector() as selector, process.stdout as output:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=0.5):
                yield ""
                continue
            data = os.read(output.fileno(), 65536)
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="replace").rstrip() for line in lines)
            if not data:
                return
