"""Runs every step of a page: `python -m template.tests.docs.follow docs/page.md` in a copy.

It stops at the first step that fails.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from template.tests.docs.guide import Commands, steps_of

# The page names the default port. If that is taken, `make dev` prints the port that it took.
USUAL = "http://127.0.0.1:8000"
UP = "Ctrl-C stops everything"
START_SECONDS = 120.0
POLL_EVERY = 0.05

# The copy may have no template/, so this module may come from another folder. Nothing else may.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def follow(page: Path) -> int:
    """Returns the number of steps."""
    steps = list(steps_of(page.read_text()))
    address = USUAL
    with ExitStack() as stack:
        for step in steps:
            if not isinstance(step, Commands):
                step.follow(Path())
            elif step.text.startswith("make dev"):
                address = stack.enter_context(running(step.text))
            else:
                run(step.text.replace(USUAL, address))
    return len(steps)


def run(commands: str) -> None:
    # -x prints each command, with a token. The database of that token is deleted soon.
    subprocess.run(["bash", "-euxc", commands], env=ENVIRONMENT, check=True)


@contextmanager
def running(command: str) -> Iterator[str]:
    """Run a command until the end of the block, as in another terminal; return its address."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["bash", "-euc", command],
            env=ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield wait_for_address(process, output.fileno())
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait()


def wait_for_address(process: subprocess.Popen[bytes], output: int) -> str:
    deadline = time.monotonic() + START_SECONDS
    while UP not in (said := os.pread(output, 1_000_000, 0).decode()):
        assert process.poll() is None, f"it ended:\n{said}"
        assert time.monotonic() < deadline, f"not up within {START_SECONDS} s:\n{said}"
        time.sleep(POLL_EVERY)
    [address] = [line.split()[1] for line in said.splitlines() if line.startswith("  address ")]
    return address


if __name__ == "__main__":
    print(f"{follow(Path(sys.argv[1]))} steps followed")
