"""`make doctor` as a whole: what it prints, and its exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dev.doctor import __main__ as doctor
from dev.doctor.findings import Finding, Findings, Machine, State, bad, note, ok

BOOTSTRAP = Path(doctor.__file__).parents[1] / "bootstrap.py"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the one check that is asked finds."""
    findings: list[Finding] = [ok("disk", "room")]

    def check(_machine: Machine) -> Findings:
        yield from findings

    monkeypatch.setattr(doctor, "CHECKS", (check,))
    monkeypatch.setattr("dev.doctor.docker.docker_info", dict)
    return findings


class TestReport:
    """A line for each finding, its remedy below; 1 only where something is bad."""

    def test_nothing_to_mend(
        self, found: list[Finding], capsys: pytest.CaptureFixture[str]
    ) -> None:
        found.append(note("user", "root"))
        assert doctor.main(["embedded"]) == 0
        said = capsys.readouterr().out
        assert said.startswith("make dev would run Postgres and Redis from packages")
        assert "\nok    disk  room\nnote  user  root\n\nNothing to mend.\n" in said

    def test_something_to_mend(
        self, found: list[Finding], capsys: pytest.CaptureFixture[str]
    ) -> None:
        found.append(bad("lock", "old", "make lock\nor else"))
        assert doctor.main(["docker", ""]) == 1
        said = capsys.readouterr().out
        assert "\nbad   lock  old\n            → make lock\n            → or else\n" in said
        assert said.endswith("\n1 to mend.\n")

    def test_for_scripts(self, found: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
        found.append(bad("lock", "old", "make lock"))
        assert doctor.main(["", "1"]) == 1
        assert json.loads(capsys.readouterr().out) == [
            {"state": "ok", "what": "disk", "says": "room", "remedy": ""},
            {"state": "bad", "what": "lock", "says": "old", "remedy": "make lock"},
        ]

    def test_on_a_colour_terminal(
        self,
        found: list[Finding],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("dev.output.is_coloured", lambda: True)
        doctor.main([""])
        assert "\033[32mok  \033[0m  disk  room" in capsys.readouterr().out


class TestPlainPython:
    """It runs where nothing is installed yet, and a Python that is too old is told so."""

    def test_without_any_package(self) -> None:
        # -I and -S: no site-packages, no variables, as a fresh machine.
        command = [sys.executable, "-I", "-S", str(BOOTSTRAP), "doctor", "embedded", "1"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.stderr == ""
        states = {finding["what"]: finding["state"] for finding in json.loads(done.stdout)}
        assert {"Python", "Docker", "disk", "lock", "index", "line ends"} <= states.keys()
        assert done.returncode == int(State.BAD in states.values())

    @pytest.mark.parametrize("version", [(3, 6, 15), (3, 9, 18), (3, 10, 13)])
    def test_an_old_one(self, version: tuple[int, ...]) -> None:
        pretend = (
            f"import sys, runpy; sys.version_info = {version}; sys.argv = ['b', 'doctor']; "
            f"runpy.run_path({str(BOOTSTRAP)!r}, run_name='__main__')"
        )
        done = subprocess.run(
            [sys.executable, "-c", pretend], check=False, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert "needs Python 3.11 or newer" in done.stderr
        assert f"is {'.'.join(map(str, version))}." in done.stderr
