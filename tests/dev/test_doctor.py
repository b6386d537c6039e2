"""`make doctor` finds each fault of a machine, and its remedy, pasted, repairs it.

A real Docker Engine is asked in tests/stack.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dev import doctor, environment, ports, stack
from dev.doctor import docker, findings, machine
from dev.doctor.findings import Finding, Machine, State
from dev.files import ROOT


def looked_at(runtime: str = "embedded", **changed: Any) -> Machine:
    return Machine(runtime, {}, {}, [], {})._replace(**changed)


def worst(found: Iterable[Finding]) -> Finding:
    """The first that is bad, or a note, or fine."""
    return min(found, key=lambda finding: [State.BAD, State.NOTE, State.OK].index(finding.state))


def shell(root: Path, command: str) -> None:
    subprocess.run(["sh", "-c", command], cwd=root, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "clone"
    root.mkdir()
    (root / ".gitattributes").write_text("* text=auto eol=lf\n")
    (root / "script").write_text("#!/bin/sh\n")
    shell(root, "git init --quiet && git add --all")
    for module in (machine, docker, environment):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(environment, "DOTENV", root / ".env")
    monkeypatch.setattr(machine, "DOTENV", root / ".env")
    return root


class TestDotenv:
    """A .env that is no UTF-8, or has a byte order mark, is found; the remedy rewrites it."""

    def test_a_good_one(self, clone: Path) -> None:
        (clone / ".env").write_text("TITLE=größer\n")
        assert worst(machine.check_dotenv(looked_at())).state is State.OK

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig"])
    def test_remedy(self, clone: Path, encoding: str) -> None:
        (clone / ".env").write_text("TITLE=größer\n", encoding=encoding)
        found = worst(machine.check_dotenv(looked_at()))
        assert found.state is not State.OK
        shell(clone, found.remedy)
        assert (clone / ".env").read_bytes() == "TITLE=größer\n".encode()


class TestLineEnds:
    """CRLF in a file is found, and the remedy writes it anew."""

    def test_remedy(self, clone: Path) -> None:
        (clone / "script").write_bytes(b"#!/bin/sh\r\n")
        found = worst(machine.check_line_ends(looked_at()))
        assert (found.state, found.says) == (State.BAD, "CRLF in script")
        shell(clone, found.remedy.partition(": ")[2])
        assert worst(machine.check_line_ends(looked_at())).state is State.OK


class TestOwner:
    """What a run with sudo left behind is found."""

    def test_it(self, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        found = worst(machine.check_owner(looked_at()))
        assert "uid 4711, but another account owns ., .git, .gitattributes" in found.says
        assert found.remedy.startswith(f"sudo chown -R 4711 {clone}")


class TestDisk:
    """A full disk is a fault. The message says how much room is needed."""

    @pytest.mark.parametrize(("runtime", "count"), [("embedded", 1), ("docker", 2)])
    def test_a_full_one(
        self, clone: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, count: int
    ) -> None:
        more = shutil.disk_usage(clone).total + machine.GIGABYTE
        monkeypatch.setattr(machine, "DISK_NEEDED", {"embedded": more, "docker": more})
        seen = looked_at(runtime, engine={"DockerRootDir": "/tmp"}, config={"name": "x"})
        found = list(machine.check_disk(seen))
        assert [finding.state for finding in found] == [State.BAD] * count
        assert "GB are needed" in found[-1].says


class TestPorts:
    """For a taken port, the message names the program that has it, and a free port."""

    def test_one_that_was_asked_for(self, taken: int) -> None:
        found = machine.check_port(looked_at(environment={"PORT": str(taken)}), "PORT")
        assert (found.state, found.what) == (State.BAD, f"port {taken}")
        assert f"taken by pid {os.getpid()} " in found.says

    def test_one_that_nobody_asked_for(self, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(ports.DEFAULTS, "PORT", taken)
        found = machine.check_port(looked_at(), "PORT")
        assert found.state is State.NOTE
        free = int(found.remedy.partition("PORT=")[2])
        assert free > taken
        with socket.create_server(("127.0.0.1", free)):
            pass

    def test_ones_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        announced = {"PORT": "8001", "DATABASE_URL": "postgresql://d:p@127.0.0.1:5434/d"}
        monkeypatch.setattr(machine, "announced_environment", lambda _patience, **_: announced)
        found = {found.what: found.state for found in machine.check_ports(looked_at())}
        assert found == {"port 8001": State.OK, "port 5434": State.OK}


class TestLeftovers:
    """The database of root's clone that was removed or moved is found, with both remedies."""

    def test_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        home = tmp_path / "dev-postgres-0"
        monkeypatch.setattr(machine, "orphans", lambda: {home: "/gone"})
        monkeypatch.setattr(machine, "outside", lambda _: tmp_path / "dev-postgres-1")
        home.mkdir()
        move, remove = worst(machine.check_leftovers(looked_at())).remedy.splitlines()
        shell(tmp_path, move.partition(": ")[2])
        assert (tmp_path / "dev-postgres-1").is_dir()
        assert remove.endswith(f"rm -r {home}")


VERSIONS = {
    "ServerVersion": "28.5.2",
    "ClientInfo": {"Plugins": [{"Name": "compose", "Version": "v2.40.3-desktop"}]},
}


class TestDocker:
    """A Docker that is missing, hangs, refuses us or is old has a remedy of its own."""

    def finding(self, engine: Mapping[str, Any], runtime: str = "docker") -> Finding:
        config = {} if "Fault" in engine else {"name": "drydock"}
        return worst(docker.check_docker(looked_at(runtime, engine=engine, config=config)))

    def test_a_current_one(self) -> None:
        assert self.finding(VERSIONS).state is State.OK

    @pytest.mark.parametrize(
        ("engine", "says"),
        [
            ({"Fault": "docker is not installed"}, "is not installed"),
            ({"Fault": "dial unix: permission denied"}, "its socket is closed to this user"),
            ({"Fault": "Docker gives no answer within 5 s"}, "gives no answer within 5 s"),
            ({**VERSIONS, "ServerVersion": "26.1.5"}, "Engine 26.1.5 is too old, 27.0 or newer"),
            ({**VERSIONS, "ClientInfo": {}, "Fault": "unknown flag"}, "Compose is missing, 2.28.0"),
            ({**VERSIONS, "Fault": "no such file: x.yaml"}, "no such file: x.yaml"),
        ],
    )
    def test_another(self, engine: Mapping[str, Any], says: str) -> None:
        found = self.finding(engine)
        assert found.state is State.BAD
        assert says in found.says
        assert "RUNTIME=embedded" in found.remedy
        assert self.finding(engine, "embedded").state is State.NOTE

    def test_an_address_where_nobody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", "tcp://nowhere:1")
        assert "DOCKER_HOST=tcp://nowhere:1" in docker.explain("Cannot connect")[0]

    def test_one_that_hangs(
        self, fake_docker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_docker("exec sleep 60")
        monkeypatch.setattr(stack, "SECONDS", 0.1)
        seen = findings.look(None)
        assert seen.runtime == "embedded"
        assert "no answer" in seen.engine["Fault"]


class TestFiles:
    """What the containers' users can't read is found, and the remedy opens it, and nothing else."""

    @pytest.mark.parametrize("closed", ["redis.conf", "proxy", "proxy/Caddyfile"])
    def test_remedy(self, clone: Path, tmp_path: Path, closed: str) -> None:
        shutil.copytree(ROOT / "deploy", clone / "deploy")
        (tmp_path / "link").symlink_to(clone)
        seen_by_compose = tmp_path / "link/deploy"
        secret = tmp_path / "credentials"
        secret.mkdir(mode=0o700)
        binds = [
            {"type": "bind", "source": str(path)}
            for path in (clone, secret, seen_by_compose / "proxy")
        ]
        config = {
            "configs": {"redis": {"file": str(seen_by_compose / "redis.conf")}},
            "services": {"proxy": {"volumes": [*binds, {"type": "volume", "source": "data"}]}},
        }
        seen = looked_at("docker", config=config)
        shell(clone, "deploy/open-files")
        assert worst(docker.check_files(seen)).state is State.OK
        (clone / "deploy" / closed).chmod(0o700)
        found = worst(docker.check_files(seen))
        assert (found.state, closed.partition("/")[0] in found.says) == (State.BAD, True)
        shell(clone, found.remedy)
        assert worst(docker.check_files(seen)).state is State.OK
        assert secret.stat().st_mode & 0o777 == 0o700


class TestReport:
    """The exit code says whether something is to be mended."""

    @pytest.mark.parametrize("state", [State.OK, State.NOTE, State.BAD])
    def test_it(
        self, state: State, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(doctor, "look", lambda _runtime: looked_at())
        monkeypatch.setattr(doctor, "CHECKS", [lambda _: [Finding(state, "what", "says", "do it")]])
        assert doctor.main("embedded") == (state is State.BAD)
        assert "> do it" in capsys.readouterr().out
