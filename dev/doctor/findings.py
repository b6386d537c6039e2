"""What a check may say."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from dev.stack import Container


class State(StrEnum):
    """How it is. Only BAD makes the exit code 1: it keeps `make dev` from working."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


class Finding(NamedTuple):
    """One line for people, and its remedy where there is one to give."""

    state: State
    what: str
    says: str
    remedy: str = ""


class Machine(NamedTuple):
    """What the checks look at, gathered once."""

    root: Path
    environment: Mapping[str, str]  # the shell's variables over those of .env
    runtime: str  # what `make dev` would take: docker or embedded
    containers: list[Container]
    docker: Mapping[str, object]  # `docker info`; empty without a client

    @property
    def engine_answers(self) -> bool:
        """Whether there is an Engine, and we may use it."""
        return bool(self.docker.get("ServerVersion"))


Findings = Iterator[Finding]


def ok(what: str, says: str) -> Finding:
    """Nothing to do."""
    return Finding(State.OK, what, says)


def note(what: str, says: str, remedy: str = "") -> Finding:
    """Worth knowing; nothing is broken."""
    return Finding(State.NOTE, what, says, remedy)


def bad(what: str, says: str, remedy: str) -> Finding:
    """Something will not work before the remedy."""
    return Finding(State.BAD, what, says, remedy)
