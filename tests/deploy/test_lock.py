"""deploy/lock.sh, on a host with flock and on one without, as a Mac is."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.polling import until

LOCK = Path(__file__).parents[2] / "deploy" / "lock.sh"
USES = ("bash", "cat", "dirname", "sleep")


@pytest.fixture(params=["flock", "perl"])
def script(request: pytest.FixtureRequest, tmp_path: Path) -> "Script":
    """A script that takes the lock, and a PATH with one of the two programs for it."""
    if not shutil.which(request.param):
        pytest.skip(f"this machine has no {request.param}")
    return Script(tmp_path, (*USES, request.param))


class Script:
    """A script that takes the lock, prints `held` and runs the given command."""

    def __init__(self, folder: Path, programs: tuple[str, ...]) -> None:
        programs_folder = folder / "bin"
        programs_folder.mkdir()
        for name in programs:
            (programs_folder / name).symlink_to(str(shutil.which(name)))
        self.file = folder / "script"
        self.file.write_text(f'set -euo pipefail\n. "{LOCK}"\necho held\neval "$1"\n')
        self.environment = {"PATH": str(programs_folder)}

    def start(self, command: str) -> "subprocess.Popen[str]":
        """Return when the script holds the lock."""
        process = subprocess.Popen(
            ["bash", self.file, command],
            cwd=self.file.parent,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    def run(self) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", self.file, ":"],
            cwd=self.file.parent,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


class TestLock:
    """One script holds it. It is free when the script and its children have ended."""

    def test_the_second_is_refused_and_told_who_has_it(self, script: Script) -> None:
        with script.start("exec sleep 60") as first:
            held_by = f"{script.file}, process {first.pid}"
            assert script.run() == (1, f"Another deploy or restore is under way: {held_by}\n")
            first.kill()
        assert script.run() == (0, "held\n")

    def test_a_child_of_a_killed_script_keeps_it(self, script: Script) -> None:
        with script.start("sleep 60 & echo $!; wait") as first:
            assert first.stdout is not None
            child = int(first.stdout.readline())
            first.kill()
            first.wait()
            assert script.run()[0] == 1
            os.kill(child, signal.SIGKILL)
        until(lambda: script.run()[0] == 0, within=10)


class TestNoProgramForIt:
    """Without flock and perl the message says what to install, and not that another script runs."""

    def test_it_says_so(self, tmp_path: Path) -> None:
        code, said = Script(tmp_path, USES).run()
        assert (code, "Install flock" in said, "under way" in said) == (1, True, False)
