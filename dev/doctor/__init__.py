"""`make doctor`: finds what is wrong with a machine or clone, and prints the remedy.

It changes nothing. It runs without .venv.
"""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

from dev import terminal
from dev.doctor import docker, machine
from dev.doctor.findings import State, look

CHECKS = (*machine.CHECKS, *docker.CHECKS)
COLOURS = {State.OK: 32, State.NOTE: 33, State.BAD: 31}


def main(runtime: str | None) -> int:
    """Run all checks; return 1 if a fault keeps `make dev` from working."""
    looked_at = look(runtime)
    print(f"Checking what make dev RUNTIME={looked_at.runtime} needs.\n")
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        found = pool.map(lambda check: list(check(looked_at)), CHECKS)
        findings = [*itertools.chain.from_iterable(found)]
    width = max(len(finding.what) for finding in findings)
    for state, what, says, remedy in findings:
        mark = f"{state:4}"
        if terminal.is_coloured():
            mark = f"\033[{COLOURS[state]}m{mark}\033[0m"
        print(f"{mark}  {what:{width}}  {says}")
        for line in remedy.splitlines():
            print(f"      {'':{width}}  > {line}")
    count = sum(finding.state is State.BAD for finding in findings)
    print(f"\n{count} to mend." if count else "\nNothing to mend.")
    return int(count > 0)


def choose() -> int:
    """Print the runtime that `make dev` takes, and why on standard error."""
    seen = look(None)
    if seen.runtime == "docker":
        reason = (
            "A Docker Engine answers, so this is the compose stack. "
            "Without it: make dev RUNTIME=embedded"
        )
    else:
        [found] = docker.check_docker(seen)
        reason = f"Docker: {found.says}.\nSo Postgres and Redis run embedded, under .local/"
    print(reason, file=sys.stderr)
    print(seen.runtime)
    return 0
