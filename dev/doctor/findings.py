"""What the checks look at (`Machine`, gathered once), and what they return (`Finding`)."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib.util import find_spec
from typing import Any, NamedTuple

from dev.environment import given_environment
from dev.errors import DevError
from dev.stack import Container, compose_config, compose_containers, docker

# The Engine for networks with IPv6 that name no subnet, Compose for `config --environment`.
OLDEST = {"Engine": (27, 0), "Compose": (2, 28, 0)}


class State(StrEnum):
    """How serious a finding is. BAD keeps `make dev` from working, and the exit code is 1."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


class Finding(NamedTuple):
    """One line of the report, and its remedy if there is one."""

    state: State
    what: str
    says: str
    remedy: str = ""


class Machine(NamedTuple):
    runtime: str  # what `make dev` would take: docker or embedded
    environment: Mapping[str, str]  # the shell's variables over those of .env
    engine: Mapping[str, Any]  # `docker info`; only a "Fault" where there is no answer
    containers: list[Container]
    config: Mapping[str, Any]  # what Compose makes of its files; empty if it can't

    @property
    def uses_docker(self) -> bool:
        """Whether `make dev` would use the Engine, and Compose can read its files."""
        return self.runtime == "docker" and bool(self.config)


Findings = Iterator[Finding]


def ok(what: str, says: str) -> Finding:
    """Nothing to do."""
    return Finding(State.OK, what, says)


def note(what: str, says: str, remedy: str = "") -> Finding:
    """Nothing is broken, but the developer should know it."""
    return Finding(State.NOTE, what, says, remedy)


def bad(what: str, says: str, remedy: str) -> Finding:
    """Something does not work until somebody applies the remedy."""
    return Finding(State.BAD, what, says, remedy)


def look(runtime: str | None) -> Machine:
    """Gather what the checks need, for the runtime that `make dev` would choose."""
    try:
        # Without .venv this can't read .env, so only the shell's variables count.
        environment = given_environment() if find_spec("dotenv") else dict(os.environ)
    except DevError:
        environment = dict(os.environ)
    engine: dict[str, Any] = {}
    containers: list[Container] = []
    config: dict[str, Any] = {}
    try:
        engine = json.loads(docker("info", "--format", "{{json .}}"))
        containers, config = compose_containers(), compose_config()
    except DevError as error:
        engine["Fault"] = str(error)
    chosen = runtime or ("embedded" if lacking(engine) else "docker")
    return Machine(chosen, environment, engine, containers, config)


def versions(engine: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the versions of Engine and Compose in `docker info`."""
    plugins = (engine.get("ClientInfo") or {}).get("Plugins") or ()
    compose = next((found["Version"] for found in plugins if found["Name"] == "compose"), None)
    return {"Engine": engine.get("ServerVersion"), "Compose": compose}


def lacking(engine: Mapping[str, Any]) -> list[str]:
    """Return what is missing or too old. Empty if `make dev` can use this Docker."""
    return [
        f"{name} {f'{version} is too old' if version else 'is missing'}, "
        f"{'.'.join(map(str, OLDEST[name]))} or newer is needed"
        for name, version in versions(engine).items()
        if not version or numbers(version) < OLDEST[name]
    ]


def numbers(version: str) -> tuple[int, ...]:
    """Return a version to compare: v2.40.3-desktop is (2, 40, 3)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3])
