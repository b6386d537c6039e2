"""Starts processes that cannot outlive this one, even when it is SIGKILLed.

A small process, the guardian, reads from a pipe whose only writing end is ours. We announce each
child through it. When the pipe closes, for whatever reason, the guardian ends all children that are
left, the newest first. Unlike Linux's PR_SET_PDEATHSIG this works on macOS, across a change of
user, and for grandchildren such as the server process under a reloader.

It does not cover the millisecond between the start of a child and its announcement.
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

# How long each child gets after our death. Postgres and Redis need it to close their files.
LAST_SECONDS = 5


class Guardian:
    """Our end of the pipe, and the process at the other end."""

    def __init__(self) -> None:
        """Start it in a session of its own, which no Ctrl-C reaches."""
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
        """Forget a process that has ended: its number may come to mean another one."""
        self._tell(f"release {pid} 0\n")

    def _tell(self, line: str) -> None:
        try:
            os.write(self._writing, line.encode())
        except BrokenPipeError:
            # Somebody killed the guardian. What runs goes on, and can still be stopped.
            print(
                "dev: the guardian is gone; a crash from here on would leave servers behind",
                file=sys.stderr,
            )

    def close(self) -> None:
        """Let it end what was not released, and wait for that."""
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
    _guardian()  # first: its start takes 20 ms, in which the child would be unguarded
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        pass_fds=pass_fds,
        start_new_session=True,  # the terminal's Ctrl-C is for the launcher alone
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    guard(process, stop_signal)
    return process


def guard(process: subprocess.Popen[bytes], stop_signal: int = signal.SIGTERM) -> None:
    """End a child when we are gone, with this signal first."""
    _guardian().watch(process.pid, stop_signal)


def release(process: subprocess.Popen[bytes]) -> None:
    """Reap a process that has ended and stop guarding it."""
    process.wait()
    _guardian().release(process.pid)


def finish(process: subprocess.Popen[bytes], patience: Patience) -> int:
    """Wait until a child has done its work and return its exit code. An interrupt ends it."""
    try:
        while process.poll() is None:
            patience.pause(0.02)
    finally:
        end({process.pid: signal.SIGTERM}, seconds=LAST_SECONDS, patience=patience)
        release(process)
    return process.wait()


def main() -> None:
    """Be the guardian: read what to watch until the pipe closes, then end what is left."""
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
