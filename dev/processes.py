"""Finds the process tree of a child, and ends it. Works on Linux and macOS.

guardian.py starts the children.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")

# A killed process ends at once, unless the kernel holds it, for example on a disk that hangs. A
# longer wait would not help.
KILLED_SECONDS = 5


class Patience:
    """How to wait. This class only sleeps. `Interrupts` in terminal.py also reacts to Ctrl-C."""

    def pause(self, seconds: float) -> None:
        """Wait, or raise Interrupted."""
        time.sleep(seconds)

    def is_over(self) -> bool:
        """Whether to kill at once, instead of waiting for a graceful end."""
        return False


class Entry(NamedTuple):
    """One process in the process table."""

    parent: int
    group: int
    state: str


def process_table() -> dict[int, Entry]:
    """List the processes of this machine: from /proc if there is one, else with `ps`."""
    if not (PROC / "self" / "stat").exists():
        return _table_of_ps()
    table = {}
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            line = (folder / "stat").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        # The name in parentheses may contain parentheses, so read what follows the last one.
        state, parent, group = line.rpartition(b")")[2].split()[:3]
        table[int(folder.name)] = Entry(int(parent), int(group), state.decode())
    return table


def _table_of_ps() -> dict[int, Entry]:
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,state="]
    listing = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = (line.split() for line in listing.splitlines())
    return {int(pid): Entry(int(parent), int(group), state) for pid, parent, group, state in rows}


def members(leaders: Iterable[int]) -> set[int]:
    """Return the running processes of each leader: itself, its group and all their descendants.

    Group and parents are both needed. A Postgres backend leaves the group of its postmaster, and a
    reloader's child may lose its parent. Zombies don't count: in a container they may stay.
    """
    table = process_table()
    wanted = set(leaders)
    found = {pid for pid, entry in table.items() if pid in wanted or entry.group in wanted}
    grown = True
    while grown:
        children = {pid for pid, entry in table.items() if entry.parent in found} - found
        found |= children
        grown = bool(children)
    return {pid for pid in found if not table[pid].state.startswith("Z")}


def running(pids: Iterable[int]) -> set[int]:
    table = process_table()
    return {pid for pid in pids if pid in table and not table[pid].state.startswith("Z")}


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end(leaders: Mapping[int, int], *, seconds: float, patience: Patience | None = None) -> None:
    """Send each leader its signal, wait until all its members have ended, and kill the rest.

    Only the leader gets the signal, because it ends its children itself. If the leader is dead, its
    members get the signal.
    """
    patience = patience or Patience()
    left = members(leaders)
    send(left, signal.SIGCONT)  # a stopped process does not handle signals
    for leader, number in leaders.items():
        send({leader} if leader in left else members([leader]), number)
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline and not patience.is_over():
        time.sleep(0.02)
        left = running(left | members(leaders))
    deadline = time.monotonic() + KILLED_SECONDS
    while left and time.monotonic() < deadline:
        send(left, signal.SIGKILL)
        time.sleep(0.02)
        left = running(left | members(leaders))
