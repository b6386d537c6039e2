"""`make doctor` against a real Docker, in states that were made for it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.doctor import docker as checks
from dev.doctor import machine as machine_checks
from dev.doctor.findings import Finding, Machine, State
from dev.stack import compose_containers
from tests.stack.images import ONE, Images
from tests.stack.source import ROOT, run
from tests.stack.stack import Stack, production


@pytest.fixture(scope="module")
def database(
    source: Path, images: Images, stacks: list[Stack], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack of which the database alone runs."""
    folder = tmp_path_factory.mktemp("doctor") / "stack"
    with production(source, folder, images.repository, ONE) as stack:
        stacks.append(stack)
        stack.docker.compose.up(["db"], detach=True, wait=True, quiet=True, pull="missing")
        yield stack
        stacks.remove(stack)


def look(stack: Stack, **environment: str) -> Machine:
    """The machine as doctor sees it from the stack's clone."""
    given = {**stack.environment, **environment}
    return Machine(stack.source, given, "docker", compose_containers(), checks.docker_info())


def doctor(**environment: str) -> dict[str, Finding]:
    command = [sys.executable, "dev/bootstrap.py", "doctor", "docker", "1"]
    said = run(command, cwd=ROOT, env=environment, check=False)
    return {found["what"]: Finding(**found) for found in json.loads(said)}


class TestDocker:
    """Missing, elsewhere, closed: each is told apart by what the real client says."""

    def test_a_current_one(self) -> None:
        assert doctor()["Docker"].state == State.OK

    def test_none(self) -> None:
        found = doctor(PATH="/nowhere")["Docker"]
        assert (found.state, found.says) == (State.BAD, "is not installed")

    def test_an_address_where_nobody_listens(self) -> None:
        found = doctor(DOCKER_HOST="tcp://127.0.0.1:1")["Docker"]
        assert found.state == State.BAD
        assert "DOCKER_HOST=tcp://127.0.0.1:1" in found.says
        assert "unset DOCKER_HOST" in found.remedy

    def test_a_socket_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        fault = str(checks.docker_info()["Fault"])
        monkeypatch.delenv("DOCKER_HOST")
        says, remedy = checks.explain(fault)
        assert "no Engine answers" in says
        assert "systemctl start docker" in remedy

    def test_a_user_outside_of_the_group(self) -> None:
        stranger = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        command = [*stranger, "env", "HOME=/", "docker", "info"]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        says, remedy = checks.explain(said.stderr)
        assert says == "its socket is closed to this user"
        assert "usermod -aG docker" in remedy


class TestPassword:
    """A volume with another password than the secret is found, and each remedy mends it."""

    def test_the_right_one(self, database: Stack) -> None:
        [found] = checks.check_password(look(database))
        assert found.state is State.OK

    def test_the_old_one_is_put_back(self, database: Stack) -> None:
        secret = database.folder / "secrets" / "database_password"
        kept = shutil.copy(secret, database.folder / "kept")
        secret.unlink()
        database.script("make-secrets")
        [found] = checks.check_password(look(database))
        assert found.state is State.BAD
        assert found.says.startswith(f"the volume {database.name}_db was made with another")
        shutil.copy(kept, secret)
        assert [found.state for found in checks.check_password(look(database))] == [State.OK]

    def test_the_database_gets_the_new_one(self, database: Stack) -> None:
        (database.folder / "secrets" / "database_password").unlink()
        database.script("make-secrets")
        [found] = checks.check_password(look(database))
        assert found.state is State.BAD
        _, paste, _ = found.remedy.splitlines()
        run(["sh", "-c", paste], cwd=database.source)
        assert [found.state for found in checks.check_password(look(database))] == [State.OK]

    def test_the_log_tells_when_nothing_runs(self, database: Stack) -> None:
        secret = database.folder / "secrets" / "database_password"
        kept = shutil.copy(secret, database.folder / "kept")
        try:
            secret.unlink()
            database.script("make-secrets")
            run(
                ["docker", "compose", "-f", "compose.yaml", "up", "--no-deps", "migrate"],
                cwd=database.source,
                env=database.environment,
                check=False,
            )
            database.docker.compose.stop(["db"])
            [found] = checks.check_password(look(database))
            assert found.state is State.BAD
        finally:
            shutil.copy(kept, secret)
            database.docker.compose.up(["db"], detach=True, wait=True, quiet=True)


class TestPorts:
    """A port that a container has is told with the stack, not with Docker's own process."""

    def test_it(self, stack: Stack) -> None:
        port = stack.variables["HTTPS_PORT"]
        seen = look(stack, COMPOSE_PROJECT_NAME="another-name", PORT=port)
        told = {found.what: found for found in machine_checks.check_ports(seen)}
        assert told[f"port {port}"].state is State.BAD
        assert f"taken by the stack {stack.name} of {stack.source}" in told[f"port {port}"].says


class TestOtherClone:
    """The name of a stack in another folder is recognised before it is taken over."""

    def test_it(self, stack: Stack, tmp_path: Path) -> None:
        elsewhere = look(stack)._replace(root=tmp_path)
        shutil.copy(stack.source / "pyproject.toml", tmp_path)
        [found] = checks.check_project(elsewhere)
        assert found.state is State.BAD
        assert f"{stack.name} is the stack of {stack.source}" in found.says
