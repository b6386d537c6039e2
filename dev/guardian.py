"""Starts processes that cannot outlive this one, even when it is SIGKILLed.

A small process, the guardian, reads from a pipe. Only this process has the writing end, and it
writes the pid of each child to it. When this process ends, the pipe closes, and the guardian ends
all remaining children, the newest first. Linux's PR_SET_PDEATHSIG is not enough: it does not work
on macOS, after a change of user, or for grandchildren such as the process under a reloader.

A child is unguarded for about a millisecond, between its start and the message to the guardian.
"""

import atexit
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from dev.accounts import Account
from dev.files import ROOT
from dev.processes import Patience, end

# How long each child gets to end. Postgres and Redis need it to close their files.
LAST_SECONDS = 5


class Guardian:
    """The guardian process, and our end of the pipe to it."""

    def __init__(self) -> None:
        """Start it in its own session, so that Ctrl-C does not reach it."""
        reading, self._writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                # Without site-packages and PYTHON* variables it starts in 20 ms.
                [sys.executable, "-E", "-s", "-S", "-m", "dev.guardian"],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                start_new_session=True,
                close_fds=False,  # it inherits the lock of clone.own
            )
        finally:
            os.close(reading)

    def watch(self, pid: int, stop_signal: int) -> None:
        self._tell(f"watch {pid} {stop_signal}\n")

    def release(self, pid: int) -> None:
        """Forget a process that has ended, because a new process may get its pid."""
        self._tell(f"release {pid} 0\n")

    def _tell(self, line: str) -> None:
        try:
            os.write(self._writing, line.encode())
        except BrokenPipeError:
            # Somebody killed the guardian. The children go on, and Ctrl-C still stops them.
            print(
                "dev: the guardian has ended; a crash from now on would leave servers running",
                file=sys.stderr,
            )

    def close(self) -> None:
        """Let it end all children that were not released, and wait for it."""
        os.close(self._writing)
        self._process.wait()


@functools.cache
def _guardian() -> Guardian:
    guardian = Guardian()
    atexit.register(guardian.close)
    return guardian


def spawn(
    command: Sequence[str | Path],
    *,
    stop_signal: int = signal.SIGTERM,
    account: Account | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = subprocess.STDOUT,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a guarded child in a session of its own. Its errors go where its output goes."""
    _guardian()  # first, because its start takes 20 ms
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        pass_fds=pass_fds,
        start_new_session=True,  # so only the launcher gets Ctrl-C
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    guard(process, stop_signal)
    return process


def guard(process: subprocess.Popen[bytes], stop_signal: int = signal.SIGTERM) -> None:
    """Have the guardian end the child if this process dies: first with this signal."""
    _guardian().watch(process.pid, stop_signal)


def release(process: subprocess.Popen[bytes]) -> None:
    """Reap a process that has ended and stop guarding it."""
    process.wait()
    _guardian().release(process.pid)


def finish(process: subprocess.Popen[bytes], patience: Patience) -> int:
    """Wait for the end of a child and return its exit code. An interrupt ends the child."""
    try:
        while process.poll() is None:
            patience.pause(0.02)
    finally:
        end({process.pid: signal.SIGTERM}, seconds=LAST_SECONDS, patience=patience)
        release(process)
    return process.wait()


def main() -> None:
    """The guardian process: read pids until the pipe closes, then end the remaining children."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, int] = {}
    for line in sys.stdin.buffer:
        verb, pid, stop_signal = line.split()
        if verb == b"watch":
            watched[int(pid)] = int(stop_signal)
        else:
            watched.pop(int(pid), None)
    for leader in reversed(watched):
        end({leader: watched[leader]}, seconds=LAST_SECONDS)


if __name__ == "__main__":
    main()
