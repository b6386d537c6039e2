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
from dev.stack import NAME, NAME_OF_ALL, Container, claim_ports, own_name


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setattr(stack, "ROOT", folder)
    monkeypatch.setattr(stack, "DOTENV", folder / ".env")
    monkeypatch.setattr(environment, "DOTENV", folder / ".env")
    for variable in (NAME, NAME_OF_ALL):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def volumes(tmp_path: Path, fake_docker: Callable[[str], None]) -> Path:
    """A folder in the place of the Engine's volumes: a file for each, with its label."""
    folder = tmp_path / "volumes"
    folder.mkdir()
    fake_docker(
        f"cd {folder}\n"
        "for last; do :; done\n"
        "case $2 in\n"
        'ls) for name in *; do [ ! -f "$name" ] || echo "$name $(cat "$name")"; done ;;\n'
        'create) [ -f "$last" ] || echo "${6#*=}" >"$last" ;;\n'
        'rm) rm "$last" ;;\n'
        "esac"
    )
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> Container:
    """A container of another clone."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    return Container("drydock-dev", folder, {8000: 8000})


@pytest.mark.usefixtures("volumes")
class TestName:
    """A clone keeps the project's name unless another stack has it."""

    def test_the_first_one(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "a link").symlink_to(root)
        own = [
            Container("drydock-dev", root, {}),
            Container("drydock-dev", tmp_path / "a link", {}),
            Container("drydock-dev", root / "moved", {}),  # is gone
            Container("else", root.parent, {}),
            Container("drydock", root, {}, "compose.yaml"),
        ]
        assert own_name("drydock-dev", own) == "drydock-dev"
        assert not (root / ".env").exists()

    def test_the_second_one_keeps_its_own_in_the_settings(
        self, root: Path, theirs: Container, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (root / ".env").write_text("PORT=8001")
        name = own_name("drydock-dev", [theirs])
        assert name.startswith("drydock-dev-")
        first, reason, last = (root / ".env").read_text().splitlines()
        assert reason == f"# drydock-dev is the development stack of {theirs.folder}."
        assert (first, last) == ("PORT=8001", f"{NAME}={name}")
        assert str(theirs.folder) in capfd.readouterr().out

    def test_that_of_production_is_not_taken(self, root: Path) -> None:
        production = Container("drydock-dev", root, {443: 443}, f"{root}/compose.yaml")
        assert own_name("drydock-dev", [production]) != "drydock-dev"
        assert "is the production stack of" in (root / ".env").read_text()

    @pytest.mark.parametrize("variable", [NAME, NAME_OF_ALL])
    @pytest.mark.parametrize("in_dotenv", ["", "export ", None])
    def test_a_name_that_was_chosen_is_not_replaced(
        self,
        root: Path,
        theirs: Container,
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
        in_dotenv: str | None,
    ) -> None:
        if in_dotenv is not None:
            (root / ".env").write_text(f"{in_dotenv}{variable}=drydock-dev\n")
        else:
            monkeypatch.setenv(variable, "drydock-dev")
        with pytest.raises(DevError, match=f"{variable}=.*Choose another name"):
            own_name("drydock-dev", [theirs])


class TestClaim:
    """A clone that starts, or that has removed its containers, keeps its name."""

    def test_one_without_containers(self, root: Path, volumes: Path, theirs: Container) -> None:
        (volumes / "drydock-dev_clone").write_text(str(theirs.folder))
        assert own_name("drydock-dev", []) != "drydock-dev"
        assert str(theirs.folder) in (root / ".env").read_text()

    def test_one_that_is_gone(self, root: Path, volumes: Path) -> None:
        (volumes / "drydock-dev_clone").write_text(str(root / "gone"))
        assert own_name("drydock-dev", []) == "drydock-dev"
        assert (volumes / "drydock-dev_clone").read_text().strip() == str(root)

    def test_two_at_the_same_moment(
        self, root: Path, volumes: Path, theirs: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither saw the other when it looked."""
        look = stack.claimed_by

        def look_and_be_late(name: str) -> Path | None:
            seen = look(name)
            if seen is None:
                (volumes / f"{name}_clone").write_text(str(theirs.folder))
            return seen

        monkeypatch.setattr(stack, "claimed_by", look_and_be_late)
        assert own_name("drydock-dev", []).startswith("drydock-dev-")
        assert NAME in (root / ".env").read_text()


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
        told = {"project": "p", "folder": "/x y", "files": "/x y/compose.yaml", "ports": listed}
        fake_docker(f"echo '{json.dumps(told)}'")
        found = [Container("p", Path("/x y"), {8000: 8001, 5678: 5679}, "/x y/compose.yaml")]
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
        app = {
            "ports": [{"target": 8000, "published": "31999"}],
            "environment": {"ENVIRONMENT": "development"},
        }
        config = json.dumps({"name": "drydock", "services": {"app": app}})
        fake_docker(
            f"case $4 in config) echo '{config}';; esac; "
            "case $2 in up) echo $@ $DEVELOPMENT_PROJECT $PORT $POSTGRES_PORT; exit 3;; esac"
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
        assert "compose up --build drydock 31999 5" in said


class TestWithoutPython:
    """`make dev` with Docker alone is compose alone."""

    def test_plain_compose(self, fake_docker: Callable[[str], None]) -> None:
        fake_docker(
            "case \"$*\" in *config) printf 'name: x\\n  ENVIRONMENT: development\\n' ;; "
            '*up*) echo "docker $@" ;; esac'
        )
        done = subprocess.run(
            ["make", "dev-docker", "PYTHON=no-python-here"],
            cwd=Path(stack.__file__).parents[1],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout == "docker compose up --build\n"
