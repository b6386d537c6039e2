"""What is said of a Docker that is missing, silent, closed or old. The real one: tests/stack."""

import json
from pathlib import Path
from typing import Any

import pytest

from dev.doctor import docker
from dev.doctor.findings import State
from dev.stack import Container
from tests.dev.doctor.conftest import MakeMachine, only

PLUGINS = [{"Name": "compose", "Version": "v2.40.3"}, {"Name": "buildx", "Version": "0.29.1+x"}]
CURRENT: dict[str, Any] = {
    "ServerVersion": "28.5.2+dfsg4",
    "ClientInfo": {"Version": "28.2.2", "Plugins": PLUGINS},
}


def with_plugin(name: str, version: str | None) -> dict[str, Any]:
    others = [plugin for plugin in PLUGINS if plugin["Name"] != name]
    plugins = [*others, *([{"Name": name, "Version": version}] if version else [])]
    return {**CURRENT, "ClientInfo": {"Plugins": plugins}}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, but for the shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    return folder


def install(path: Path, script: str) -> None:
    (path / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (path / "docker").chmod(0o755)


class TestInfo:
    """What the client says is read, whatever state the Engine is in."""

    def test_no_client(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(path))
        assert docker.docker_info() == {}

    def test_an_engine_that_answers(self, path: Path) -> None:
        install(path, f"echo '{json.dumps(CURRENT)}'")
        assert docker.docker_info() == {**CURRENT, "Fault": ""}

    def test_one_that_does_not(self, path: Path) -> None:
        install(path, "echo 'Is the daemon running?' >&2; exit 1")
        assert docker.docker_info() == {"Fault": "Is the daemon running?"}

    def test_one_that_hangs(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(path, "exec tail -f /dev/null")
        monkeypatch.setattr(docker, "SECONDS", 0.2)
        assert docker.docker_info() == {"Fault": "no answer within 0.2 s"}


class TestDocker:
    """Each fault has a remedy; it is bad only where Docker is the way to run."""

    def test_none(self, machine: MakeMachine) -> None:
        found = only(docker.check_docker, machine())
        assert (found.state, found.says) == (State.NOTE, "is not installed")
        assert "RUNTIME=embedded" in found.remedy
        assert only(docker.check_docker, machine(runtime="docker")).state is State.BAD

    @pytest.mark.parametrize(
        ("fault", "host", "says", "remedy"),
        [
            ("permission denied while trying to connect", "", "closed to this user", "usermod -aG"),
            ("Cannot connect", "", "no Engine answers (Cannot connect)", "systemctl start docker"),
            ("", "", "no Engine answers (it says nothing)", "Docker Desktop"),
            ("x", "tcp://10.0.0.1:1", "at DOCKER_HOST=tcp://10.0.0.1:1", "unset DOCKER_HOST"),
        ],
    )
    def test_no_engine(
        self,
        machine: MakeMachine,
        monkeypatch: pytest.MonkeyPatch,
        fault: str,
        host: str,
        says: str,
        remedy: str,
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", host)
        found = only(docker.check_docker, machine(runtime="docker", docker={"Fault": fault}))
        assert found.state is State.BAD
        assert says in found.says
        assert remedy in found.remedy

    def test_a_current_one(self, machine: MakeMachine) -> None:
        found = only(docker.check_docker, machine(runtime="docker", docker=CURRENT))
        assert (found.state, found.remedy) == (State.OK, "")
        assert found.says == "Engine 28.5.2+dfsg4, Compose v2.40.3, Buildx 0.29.1+x"

    @pytest.mark.parametrize(
        ("info", "says"),
        [
            ({**CURRENT, "ServerVersion": "24.0.9"}, "Engine 24.0.9 is too old, 25.0 or newer"),
            (with_plugin("compose", "2.24.3"), "Compose 2.24.3 is too old, 2.24.4 or newer"),
            (with_plugin("compose", None), "Compose is missing"),
            (with_plugin("buildx", "v0.9.1"), "Buildx v0.9.1 is too old"),
            ({"ServerVersion": "28"}, "Compose is missing"),
        ],
    )
    def test_an_old_one(self, machine: MakeMachine, info: dict[str, Any], says: str) -> None:
        found = only(docker.check_docker, machine(runtime="docker", docker=info))
        assert found.state is State.BAD
        assert says in found.says


class TestProject:
    """A stack of the same name in another folder is found before it is taken over."""

    def test_it(self, clone: Path, machine: MakeMachine) -> None:
        seen = machine(runtime="docker", docker=CURRENT)
        assert only(docker.check_project, seen).state is State.OK
        seen = seen._replace(containers=[Container("drydock", clone.parent, {})])
        found = only(docker.check_project, seen)
        assert found.state is State.NOTE
        assert f"drydock is the stack of {clone.parent}" in found.says
        chosen = seen._replace(environment={"COMPOSE_PROJECT_NAME": "drydock"})
        assert only(docker.check_project, chosen).state is State.BAD

    def test_a_folder_that_is_gone_was_moved(self, clone: Path, machine: MakeMachine) -> None:
        gone = Container("drydock", clone / "gone", {})
        seen = machine(runtime="docker", docker=CURRENT)._replace(containers=[gone])
        assert only(docker.check_project, seen).state is State.OK

    def test_without_an_engine_nothing_is_said(self, machine: MakeMachine) -> None:
        assert list(docker.check_project(machine())) == []
        assert list(docker.check_password(machine())) == []


class TestPassword:
    """What Docker answers about the database and its secret, and what is made of it."""

    SECRET = "0123456789abcdef"

    @pytest.fixture
    def fake(self, path: Path, tmp_path: Path) -> dict[str, str]:
        """The answers of a docker that has the project's volume, and knows nothing else."""
        (tmp_path / "secret").write_text(self.SECRET)
        answers = {"volume": "echo drydock_db", "ps": "", "inspect": f"echo {tmp_path}/secret"}
        answers |= {"exec": "read -r said; echo $said >$0.said", "logs": ""}
        return answers

    def ask(
        self, path: Path, machine: MakeMachine, answers: dict[str, str], **other: str
    ) -> tuple[State, str]:
        cases = [f"{word}) {answer} ;;" for word, answer in {**answers, **other}.items()]
        install(path, "\n".join(['case "$1" in', *cases, "esac"]))
        found = only(docker.check_password, machine(runtime="docker", docker=CURRENT))
        return found.state, found.says

    def test_no_volume(self, path: Path, machine: MakeMachine, fake: dict[str, str]) -> None:
        install(path, "exit 0")
        assert list(docker.check_password(machine(runtime="docker", docker=CURRENT))) == []

    def test_the_right_one(self, path: Path, machine: MakeMachine, fake: dict[str, str]) -> None:
        state, says = self.ask(path, machine, fake, ps="echo c0ffee")
        assert state is State.OK
        assert says.startswith("the volume drydock_db takes the one in ")
        assert (path / "docker.said").read_text().strip() == self.SECRET

    def test_the_wrong_one(self, path: Path, machine: MakeMachine, fake: dict[str, str]) -> None:
        refusal = "echo 'FATAL: password authentication failed' >&2; exit 2"
        state, says = self.ask(path, machine, fake, ps="echo c0ffee", exec=refusal)
        assert state is State.BAD
        assert "another password" in says

    def test_a_database_that_does_not_answer(
        self, path: Path, machine: MakeMachine, fake: dict[str, str]
    ) -> None:
        state, says = self.ask(path, machine, fake, ps="echo c0ffee", exec="exit 2")
        assert (state, says) == (State.NOTE, "the database does not answer")

    def test_a_secret_that_is_gone(
        self, path: Path, machine: MakeMachine, fake: dict[str, str]
    ) -> None:
        state, says = self.ask(path, machine, fake, ps="echo c0ffee", inspect="echo /no/file")
        assert state is State.BAD
        assert says.startswith("/no/file is gone")

    def test_nothing_runs(self, path: Path, machine: MakeMachine, fake: dict[str, str]) -> None:
        state, says = self.ask(path, machine, fake)
        assert state is State.NOTE
        assert "only while its database runs" in says

    def test_nothing_runs_and_the_log_tells(
        self, path: Path, machine: MakeMachine, fake: dict[str, str]
    ) -> None:
        only_all = '[ "$2" = --all ] && echo c0ffee'
        refusal = "echo 'Postgres refuses the password in …' >&2"
        assert self.ask(path, machine, fake, ps=only_all, logs=refusal)[0] is State.BAD
