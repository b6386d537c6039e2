"""`make dev` with Docker: a name and ports that no other clone has."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev import stack
from dev.errors import DevError
from dev.ports import Wanted
from dev.stack import NAME, Container, claim_ports, own_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "drydock"\n')
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> list[Container]:
    """A stack that another clone of the same project made."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    return [Container("drydock", folder, {8000: 8000})]


class TestName:
    """A clone keeps the project's name unless another one has it."""

    def test_the_first_one(self, root: Path) -> None:
        assert own_name({}, [], root, pytest.fail) == "drydock"
        own = [Container("drydock", root, {}), Container("else", root.parent, {})]
        assert own_name({}, own, root, pytest.fail) == "drydock"
        assert not (root / ".env").exists()

    def test_the_second_one_keeps_its_own_in_the_settings(
        self, root: Path, theirs: list[Container]
    ) -> None:
        (root / ".env").write_text("PORT=8001")
        said: list[str] = []
        name = own_name({}, theirs, root, said.append)
        assert name.startswith("drydock-")
        first, reason, last = (root / ".env").read_text().splitlines()
        assert reason == f"# {theirs[0].folder} has the name drydock."
        assert (first, last) == ("PORT=8001", f"{NAME}={name}")
        assert str(theirs[0].folder) in said[0]
        # From now on it is found there.
        assert own_name({NAME: name}, theirs, root, pytest.fail) == name

    def test_one_that_was_moved_is_the_first_one(self, root: Path) -> None:
        moved = [Container("drydock", root / "before", {})]
        assert own_name({}, moved, root, pytest.fail) == "drydock"

    def test_a_name_that_was_chosen_is_not_replaced(
        self, root: Path, theirs: list[Container]
    ) -> None:
        with pytest.raises(DevError, match="Choose another name"):
            own_name({NAME: "drydock"}, theirs, root, pytest.fail)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class TestPorts:
    """What is taken is not used; what our own containers have stays theirs."""

    @pytest.fixture(autouse=True)
    def one_port(self, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
        monkeypatch.setattr(stack, "PUBLISHED", {8000: Wanted("PORT", taken)})

    def claim(self, own: list[Container], **given: str) -> int:
        with ExitStack() as held:
            return int(claim_ports(given, own, held, lambda _line: None)["PORT"])

    def test_a_taken_one(self, taken: int) -> None:
        assert self.claim([]) > taken

    def test_one_that_is_asked_for_and_taken(self, taken: int) -> None:
        with pytest.raises(DevError, match=f"PORT={taken} is taken by"):
            self.claim([], PORT=str(taken))

    @pytest.mark.parametrize("asked", [True, False])
    def test_our_own(self, root: Path, taken: int, asked: bool) -> None:  # noqa: FBT001 - a parameter
        given = {"PORT": str(taken)} if asked else {}
        assert self.claim([Container("drydock", root, {8000: taken})], **given) == taken

    def test_another_than_our_own(self, root: Path, taken: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            free = server.getsockname()[1]
        assert self.claim([Container("drydock", root, {8000: taken})], PORT=str(free)) == free


class TestContainers:
    """What `docker ps` prints is read."""

    def docker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    def test_published_ports(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ports = "127.0.0.1:8001->8000/tcp, 127.0.0.1:5679->5678/tcp, 9100/tcp"
        line = json.dumps({"project": "p", "folder": "/x y", "ports": ports})
        self.docker(tmp_path, monkeypatch, f"echo '{line}'")
        found = [Container("p", Path("/x y"), {8000: 8001, 5678: 5679})]
        assert stack.compose_containers() == found

    def test_no_engine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.docker(tmp_path, monkeypatch, "echo 'no daemon' >&2; exit 1")
        with pytest.raises(DevError, match="no daemon\nTo look closer: make doctor"):
            stack.compose_containers()

    def test_compose_gets_name_and_ports(
        self,
        root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfdbinary: pytest.CaptureFixture[bytes],
    ) -> None:
        answer = '[ "$1" = ps ] || echo "$@ $PORT $DB_PORT"; exit ${CODE:-0}'
        self.docker(tmp_path, monkeypatch, answer)
        monkeypatch.setattr(stack, "ROOT", root)
        monkeypatch.setattr(
            stack, "given_environment", lambda: {**os.environ, "PORT": "31999", "CODE": "3"}
        )
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        try:
            assert stack.stack() == 3
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        said = capfdbinary.readouterr().out.decode()
        assert "drydock on http://127.0.0.1:31999" in said
        assert "compose up --build --remove-orphans 31999 5" in said


class TestWithoutPython:
    """`make dev` with Docker alone is compose alone."""

    def test_plain_compose(self, tmp_path: Path) -> None:
        (tmp_path / "docker").write_text('#!/bin/sh\necho "docker $@"\n')
        (tmp_path / "docker").chmod(0o755)
        done = subprocess.run(
            ["make", "dev-docker", "PYTHON=no-python-here", f"PATH={tmp_path}:/usr/bin:/bin"],
            cwd=Path(stack.__file__).parents[1],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout == "docker compose up --build --remove-orphans\n"
