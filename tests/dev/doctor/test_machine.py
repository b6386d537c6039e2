"""What a machine is told that lacks something, or has it taken."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.doctor import machine as checks
from dev.doctor.findings import State, ok
from dev.ports import Wanted
from dev.stack import Container
from tests.dev.doctor.conftest import MakeMachine, only, shell, worst


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class TestPython:
    """A Python that can't make virtual environments is told what to install."""

    def test_ours_can(self, machine: MakeMachine) -> None:
        assert only(checks.check_python, machine(UV="")).says.endswith("with venv and pip")

    def test_uv_will_do(self, machine: MakeMachine) -> None:
        found = only(checks.check_python, machine(UV=sys.executable))
        assert found.says.endswith("and uv makes its environment")

    def test_as_debian_ships_it(
        self, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "ensurepip", None)
        found = only(checks.check_python, machine(UV=""))
        assert found.state is State.BAD
        assert found.remedy.startswith(f"apt install python3.{sys.version_info.minor}-venv")


class TestAccount:
    """What a run with sudo left behind is found."""

    def test_what_belongs_to_another(
        self, clone: Path, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        somebody = clone.stat().st_uid + 1
        monkeypatch.setattr(os, "geteuid", lambda: somebody)
        found = only(checks.check_account, machine())
        assert found.state is State.BAD
        assert f"uid {somebody}, but this belongs to somebody else: ., .env.example" in found.says
        assert found.remedy.startswith(f"sudo chown -R {somebody} {clone}")

    def test_root(self, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert only(checks.check_account, machine()).state is State.NOTE

    def test_ones_own(
        self, clone: Path, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uid = clone.stat().st_uid or 4711
        if not clone.stat().st_uid:
            shell(clone, f"chown -R {uid} .")
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        assert only(checks.check_account, machine()) == ok("user", f"uid {uid} owns the clone")


class TestDisk:
    """A disk without room is told, by how much it lacks."""

    def test_ours(self, machine: MakeMachine) -> None:
        assert only(checks.check_disk, machine()).state is State.OK

    @pytest.mark.parametrize(
        ("runtime", "count", "remedy"),
        [("embedded", 1, "make room"), ("docker", 2, "docker builder prune")],
    )
    def test_a_full_one(
        self,
        clone: Path,
        machine: MakeMachine,
        monkeypatch: pytest.MonkeyPatch,
        runtime: str,
        count: int,
        remedy: str,
    ) -> None:
        more = shutil.disk_usage(clone).total + checks.GIGABYTE
        monkeypatch.setattr(checks, "DISK_NEEDED", {"embedded": more, "docker": more})
        found = [*checks.check_disk(machine(runtime=runtime, docker={"DockerRootDir": "/tmp"}))]
        assert [finding.state for finding in found] == [State.BAD] * count
        assert "GB are needed" in found[-1].says
        assert found[-1].remedy == remedy


class TestPorts:
    """A taken port is told with its holder, and with one that is free."""

    def test_one_that_was_asked_for(self, machine: MakeMachine, taken: int) -> None:
        found = worst(checks.check_ports, machine(METRICS_PORT=str(taken)))
        assert (found.state, found.what) == (State.BAD, f"port {taken}")
        assert f"taken by pid {os.getpid()} " in found.says
        assert "make dev METRICS_PORT=91" in found.remedy

    @pytest.mark.parametrize("runtime", ["embedded", "docker"])
    def test_one_that_nobody_asked_for(
        self, machine: MakeMachine, taken: int, monkeypatch: pytest.MonkeyPatch, runtime: str
    ) -> None:
        wanted = Wanted("PORT", taken)
        monkeypatch.setattr(checks, "EMBEDDED", (wanted,))
        monkeypatch.setattr(checks, "PUBLISHED", {8000: wanted})
        found = only(checks.check_ports, machine(runtime=runtime))
        assert found.state is State.NOTE
        free = int(found.remedy.partition("PORT=")[2].split()[0])
        assert free > taken
        with socket.create_server(("127.0.0.1", free)):
            pass

    def test_one_of_another_stack(self, clone: Path, machine: MakeMachine, taken: int) -> None:
        other = Container("theirs", clone.parent, {8000: taken})
        seen = machine(runtime="docker", PORT=str(taken))._replace(containers=[other])
        found = worst(checks.check_ports, seen)
        assert f"taken by the stack theirs of {clone.parent}" in found.says

    def test_ones_own_stack(self, clone: Path, machine: MakeMachine, taken: int) -> None:
        own = [Container("drydock", clone, {8000: taken, 443: 1}), Container("x", clone, {8000: 2})]
        seen = machine(runtime="docker", PORT=str(taken))._replace(containers=own)
        found = only(checks.check_ports, seen)
        assert found == ok(f"port {taken}", "(PORT) this clone's own, which is running")

    def test_ones_own_servers(self, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
        announced = {"PORT": "8001", "DATABASE_URL": "postgresql://d:p@127.0.0.1:5434/d"}
        monkeypatch.setattr(checks, "announced_environment", lambda _patience, **_: announced)
        assert checks.own_ports(machine()) == {"PORT": 8001, "DEV_POSTGRES_PORT": 5434}

    def test_no_port_at_all(self, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
        monkeypatch.setattr("dev.ports.TRIES", 1)
        assert checks.free_port(Wanted("PORT", taken)) == "…"
