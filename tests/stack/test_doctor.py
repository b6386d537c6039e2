"""`make doctor` against a real Docker and a development stack, in states that were made for it."""

import os
import subprocess
from pathlib import Path

import pytest

from dev import stack as launcher
from dev.doctor import docker, machine
from dev.doctor.findings import Finding, State, look
from tests.stack.source import copy_of_repository, run
from tests.stack.stack import Stack

MODULES = (launcher, docker, machine)
PASSWORD = Path("deploy/development/database_password")


def told(checks: str) -> dict[str, Finding]:
    """What the checks of one module say, the worst last."""
    seen = look("docker")
    found = [*docker.CHECKS, *machine.CHECKS]
    return {said.what: said for check in found if checks in check.__name__ for said in check(seen)}


@pytest.fixture
def here(dev: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The clone whose stack runs is where doctor looks."""
    for module in MODULES:
        monkeypatch.setattr(module, "ROOT", dev.source)
    for name, value in dev.environment.items():
        monkeypatch.setenv(name, value)
    return dev


class TestEngine:
    """An Engine that answers, one that is not there and one that is closed to us are told apart."""

    def test_a_current_one(self) -> None:
        assert told("docker")["Docker"].state is State.OK

    def test_a_socket_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        found = told("docker")["Docker"]
        assert found.state is State.BAD
        assert "nothing answers at DOCKER_HOST=unix:///nowhere" in found.says

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_a_user_outside_of_the_group(self) -> None:
        stranger = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        command = [*stranger, "env", "HOME=/", "docker", "info"]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        says, remedy = docker.explain(said.stderr)
        assert says == "its socket is closed to this user"
        assert "usermod -aG docker" in remedy


class TestPassword:
    """A database with another password than the secret is found, and the remedy mends it."""

    def test_it(self, here: Stack) -> None:
        assert told("password")["password"].state is State.OK
        kept = (here.source / PASSWORD).read_text()
        try:
            for password in ("changed-development-only", kept):
                (here.source / PASSWORD).write_text(password)
                found = told("password")["password"]
                assert found.state is State.BAD
                assert found.says.startswith(f"the database of {here.name} has another")
                _, paste = found.remedy.splitlines()
                run(["sh", "-c", paste], cwd=here.source)
                assert told("password")["password"].state is State.OK
        finally:
            (here.source / PASSWORD).write_text(kept)


class TestOwnAndOther:
    """The ports of this clone's stack are its own; the stack of another clone is recognised."""

    def test_its_own(self, here: Stack) -> None:
        port = here.variables["POSTGRES_PORT"]
        assert "this clone's own" in told("ports")[f"port {port}"].says
        assert told("name")["stack"].state is State.OK

    def test_another(
        self, here: Stack, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = copy_of_repository(tmp_path / "other", source)
        for module in MODULES:
            monkeypatch.setattr(module, "ROOT", other)
        found = told("name")["stack"]
        assert found.state is State.BAD
        assert f"{here.name} is the development stack of {here.source}" in found.says
        port = here.variables["POSTGRES_PORT"]
        assert f"the stack {here.name} of {here.source}" in told("ports")[f"port {port}"].says
