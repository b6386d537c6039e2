"""`make doctor`: ask everything at once, then tell it in order."""

import itertools
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dev import output
from dev.clone import ROOT
from dev.doctor import checkout, docker, index, machine
from dev.doctor.findings import Finding, Findings, Machine, State
from dev.environment import given_environment
from dev.errors import DevError
from dev.stack import compose_containers

CHECKS: Sequence[Callable[[Machine], Findings]] = (
    machine.check_python,
    docker.check_docker,
    machine.check_account,
    machine.check_disk,
    checkout.check_line_ends,
    checkout.check_modes,
    checkout.check_settings,
    checkout.check_secrets,
    checkout.check_locks,
    checkout.check_environment,
    index.check_index,
    docker.check_project,
    docker.check_password,
    machine.check_ports,
)

COLOURS = {State.OK: 32, State.NOTE: 33, State.BAD: 31}


def main(words: Sequence[str]) -> int:
    """Take the RUNTIME and whether JSON is wanted; return 1 if something is bad."""
    runtime, as_json = (*words, "", "")[:2]
    looked_at = gather(runtime)
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        found = pool.map(lambda check: list(check(looked_at)), CHECKS)
        findings = [*itertools.chain.from_iterable(found)]
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        show(looked_at, findings)
    return int(any(finding.state is State.BAD for finding in findings))


def gather(runtime: str) -> Machine:
    """Look at what several checks need."""
    found = docker.docker_info()
    answers = bool(found.get("ServerVersion"))
    try:
        containers = compose_containers() if answers else []
    except DevError:
        containers = []  # the Engine went away just now; the next run tells
    chosen = runtime or ("docker" if answers else "embedded")
    return Machine(ROOT, given_environment(), chosen, containers, found)


def show(looked_at: Machine, findings: Sequence[Finding]) -> None:
    """Print it for people: a line for each finding, the remedy below it."""
    ways = {
        "docker": "the compose stack; Postgres is db:5432 and Redis redis:6379 to its containers",
        "embedded": "Postgres and Redis from packages, on 127.0.0.1, their data in .local/",
    }
    print(f"make dev would run {ways.get(looked_at.runtime, looked_at.runtime)}\n")
    width = max(len(finding.what) for finding in findings)
    for state, what, says, remedy in findings:
        mark = f"{state:4}"
        if output.is_coloured():
            mark = f"\033[{COLOURS[state]}m{mark}\033[0m"
        print(f"{mark}  {what:{width}}  {says}")
        for line in remedy.splitlines():
            print(f"      {'':{width}}  → {line.strip()}")
    count = sum(finding.state is State.BAD for finding in findings)
    print(f"\n{count} to mend." if count else "\nNothing to mend.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
