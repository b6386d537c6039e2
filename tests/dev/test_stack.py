"""`make dev` with Docker: a name and ports that no other clone has."""

import json
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev import environment, ports, stack
from dev.errors import DevError
from dev.stack import NAME, Container, claim_ports, own_name


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setattr(stack, "ROOT", folder)
    monkeypatch.setattr(stack, "DOTENV", folder / ".env")
    monkeypatch.setattr(environment, "DOTENV", folder / ".env")
    monkeypatch.delenv(NAME, raising=False)
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> list[Container]:
    """A stack that another clone of the same project made."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    return [Container("drydock", folder, {8000: 8000})]


class TestName:
    """A clone keeps the project's name unless another one has it."""

    def test_the_first_one(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(root)
        own = [
            Container("drydock", root, {}),
            Container("drydock", tmp_path / "link", {}),
            Container("drydock", root / "moved", {}),  # is gone
            Container("else", root.parent, {}),
        ]
        assert own_name("drydock", own) == "drydock"
        assert not (root / ".env").exists()

    def test_the_second_one_keeps_its_own_in_the_settings(
        self, root: Path, theirs: list[Container], capfd: pytest.CaptureFixture[str]
    ) -> None:
        (root / ".env").write_text("PORT=8001")
        name = own_name("drydock", theirs)
        assert name.startswith("drydock-")
        first, reason, last = (root / ".env").read_text().splitlines()
        assert reason == f"# {theirs[0].folder} has the name drydock."
        assert (first, last) == ("PORT=8001", f"{NAME}={name}")
        assert str(theirs[0].folder) in capfd.readouterr().out

    @pytest.mark.parametrize("in_dotenv", [True, False])
    def test_a_name_that_was_chosen_is_not_replaced(
        self,
        root: Path,
        theirs: list[Container],
        monkeypatch: pytest.MonkeyPatch,
        in_dotenv: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        if in_dotenv:
            (root / ".env").write_text(f"{NAME}=drydock\n")
        else:
            monkeypatch.setenv(NAME, "drydock")
        with pytest.raises(DevError, match="Choose another name"):
            own_name("drydock", theirs)


class TestPorts:
    """What is taken is not used; what our own containers have stays theirs."""

    @pytest.fixture(autouse=True)
    def one_port(self, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
        monkeypatch.setattr(stack, "VARIABLES", {8000: "PORT"})
        monkeypatch.setitem(ports.DEFAULTS, "PORT", taken)
        monkeypatch.delenv("PORT", raising=False)

    def claim(self, port: int, own: list[Container] | None = None) -> int:
        with ExitStack() as held:
            return int(claim_ports({8000: port}, own or [], held, lambda _: None)["PORT"])

    def test_a_taken_default(self, taken: int) -> None:
        assert self.claim(taken) > taken

    def test_one_that_is_asked_for_and_taken(
        self, taken: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PORT", str(taken))
        with pytest.raises(DevError, match=f"PORT={taken} is taken by"):
            self.claim(taken)

    def test_our_own(self, root: Path, taken: int) -> None:
        assert self.claim(taken, [Container("drydock", root, {8000: taken})]) == taken

    def test_another_than_our_own(self, root: Path, taken: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            free: int = server.getsockname()[1]
        assert self.claim(free, [Container("drydock", root, {8000: taken})]) == free


class TestContainers:
    """What docker prints is read."""

    def test_published_ports(self, fake_docker: Callable[[str], None]) -> None:
        listed = "127.0.0.1:8001->8000/tcp, 127.0.0.1:5679->5678/tcp, 9100/tcp"
        fake_docker(f"echo '{json.dumps({'project': 'p', 'folder': '/x y', 'ports': listed})}'")
        found = [Container("p", Path("/x y"), {8000: 8001, 5678: 5679})]
        assert stack.compose_containers() == found

    def test_no_engine(self, fake_docker: Callable[[str], None]) -> None:
        fake_docker("echo 'no daemon' >&2; exit 1")
        with pytest.raises(DevError, match="no daemon\nTo look closer: make doctor"):
            stack.compose_containers()

    def test_compose_gets_name_and_ports(
        self,
        root: Path,
        fake_docker: Callable[[str], None],
        capfdbinary: pytest.CaptureFixture[bytes],
    ) -> None:
        app = {"ports": [{"target": 8000, "published": "31999"}]}
        config = json.dumps({"name": "drydock", "services": {"app": app}})
        fake_docker(
            f"case $2 in config) echo '{config}';; "
            "up) echo $@ $COMPOSE_PROJECT_NAME $PORT $POSTGRES_PORT; exit 3;; esac"
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
        assert "compose up --build --remove-orphans drydock 31999 5" in said


class TestWithoutPython:
    """`make dev` with Docker alone is compose alone."""

    def test_plain_compose(self, fake_docker: Callable[[str], None]) -> None:
        fake_docker('echo "docker $@"')
        done = subprocess.run(
            ["make", "dev-docker", "PYTHON=no-python-here"],
            cwd=Path(stack.__file__).parents[1],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout == "docker compose up --build --remove-orphans\n"
