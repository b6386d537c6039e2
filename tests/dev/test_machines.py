"""Machines that differ from ours: an old Python, a strict umask, odd variables, a poor terminal."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dev import doctor
from dev.files import ROOT

# What a Python 3.9 does with the commands that ask for its version.
OLD_PYTHON = """#!/bin/sh
case "$1" in -c) exit 1 ;; esac
echo "an old Python runs $*" >&2
exit 1
"""


def run(
    command: list[str], folder: Path, *, said: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    of_make = {"MAKEFLAGS", "MAKELEVEL", "PYTHON", "RUNTIME"}  # of the one that runs the tests
    kept = {name: value for name, value in os.environ.items() if name not in of_make}
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, **variables},
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone without .venv, in a folder that ASCII can't name."""
    folder = tmp_path / "größe"
    for name in ("dev", "deploy"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("Makefile", "requirements-dev.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class TestPython:
    """make takes the Python of .venv, or one that is new enough, and refuses an old one."""

    def test_one_search(self, clone: Path) -> None:
        search = clone / "dev/python"
        search.write_text(f"#!/bin/sh\necho >>log\necho {sys.executable}\n")
        assert run(["make", "--dry-run", "env"], clone).returncode == 0
        assert (clone / "log").read_text() == "\n"

    def chosen(self, clone: Path, *words: str) -> str:
        """Return the Python that runs `make doctor`."""
        path = f"{clone / 'bin'}:/usr/bin:/bin"
        done = run(["make", "--dry-run", "doctor", *words], clone, PATH=path)
        return done.stdout.removeprefix("exec ").partition(" dev/bootstrap.py")[0].strip('"')

    @pytest.fixture
    def old(self, clone: Path) -> Path:
        """The machine's python3 is old, and so are those with a version in their name."""
        for name in ("python3", "python3.14", "python3.13", "python3.11"):
            program(clone / "bin" / name, OLD_PYTHON)
        return clone

    def test_a_newer_one_beside_an_old_python3(self, old: Path) -> None:
        (old / "bin" / "python3.12").symlink_to(sys.executable)
        assert self.chosen(old) == str(old / "bin/python3.12")

    def test_a_good_venv_is_kept(self, old: Path) -> None:
        program(old / ".venv/bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        assert self.chosen(old) == ".venv/bin/python"
        assert self.chosen(old, "PYTHON=python9") == "python9"

    def test_a_path_with_a_space(self, clone: Path) -> None:
        python = clone / "a folder/python"
        program(python, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        done = run(["make", "doctor", "RUNTIME=embedded", f"PYTHON={python}"], clone)
        assert "not found" not in done.stderr
        assert "embedded" in done.stdout

    def test_none_at_all(self, old: Path) -> None:
        program(old / "bin/python3.12", OLD_PYTHON)
        assert self.chosen(old) == "python3"

    @pytest.mark.parametrize("docker", [True, False])
    def test_make_dev_without_one(self, old: Path, docker: bool) -> None:  # noqa: FBT001 - a case
        program(old / "bin/python3.12", OLD_PYTHON)
        if docker:
            program(old / "bin/docker", "#!/bin/sh\n")
        for name in ("make", "sh", "sed", "tr"):  # a machine that has little else
            (old / "bin" / name).symlink_to(shutil.which(name) or "")
        done = run(["make", "--dry-run", "dev"], old, PATH=str(old / "bin"))
        assert f"make dev-{'docker' if docker else 'embedded'}" in done.stdout

    def test_an_old_one_says_what_to_do(self) -> None:
        pretend = "import runpy, sys; sys.version_info = (3, 9, 2); "
        pretend += "runpy.run_path('dev/bootstrap.py', run_name='__main__')"
        done = run([sys.executable, "-c", pretend], ROOT)
        assert "needs Python 3.11 or newer" in done.stderr
        assert "Traceback" not in done.stderr

    def test_every_python_3_can_parse_it(self) -> None:
        text = (ROOT / "dev/bootstrap.py").read_text()
        ast.parse(text, feature_version=(3, 4))
        assert text.isascii()  # or Python 2 complains about that


class TestRuntime:
    """RUNTIME may also be in .env. A word that is no runtime is named."""

    def dev(self, clone: Path, *words: str) -> str:
        done = run(["make", "--dry-run", "dev", f"PYTHON={sys.executable}", *words], clone)
        return done.stdout.partition("\n")[0] + done.stderr

    @pytest.mark.parametrize(
        "line",
        [
            "RUNTIME=embedded",
            'RUNTIME="embedded" # faster',
            "RUNTIME='embedded'\r",
            "export RUNTIME=embedded",
        ],
    )
    def test_in_dotenv(self, clone: Path, line: str) -> None:
        (clone / ".env").write_text(f"PORT=8001\n{line}\n", newline="")
        assert self.dev(clone) == "exec make dev-embedded"
        assert self.dev(clone, "RUNTIME=docker") == "exec make dev-docker"

    def test_misspelt(self, clone: Path) -> None:
        assert "RUNTIME=dokcer: choose docker or embedded." in self.dev(clone, "RUNTIME=dokcer")
        (clone / ".env").write_text("RUNTIME=Docker\n")
        assert "RUNTIME=Docker: choose docker or embedded." in self.dev(clone)


class TestDotenv:
    """Compose itself reads .env, because only Compose knows its own interpolation."""

    def test_make_dev_passes_nothing_of_it(self, clone: Path) -> None:
        app = {"environment": {"ENVIRONMENT": "development"}}
        config = json.dumps({"name": "drydock", "services": {"app": app}})
        script = f"""#!/bin/sh
            [ $1 = compose ] || exit 0
            case "$*" in *config*) echo '{config}' ;; *" up "*) env ;; esac
        """
        program(clone / "bin/docker", script)
        (clone / ".env").write_text("OWN=http://${HOSTX}:8000\n")
        command = [sys.executable, "dev/bootstrap.py", "stack"]
        said = run(command, clone, PATH=f"{clone / 'bin'}:/usr/bin:/bin").stdout
        assert "\nPORT=" in said
        assert "\nOWN=" not in said


class TestVariables:
    """Variables that change Python do not change what make runs."""

    ODD: Mapping[str, str] = {
        "PYTHONSAFEPATH": "1",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C",
    }

    def test_programs_of_make_do_not_get_them(self) -> None:
        command = ["make", "--file=Makefile", "--file=-", "show"]
        done = run(command, ROOT, said="show:\n\t@env\n", **self.ODD)
        left = {line for line in done.stdout.splitlines() if line.partition("=")[0] in self.ODD}
        assert left == {"PYTHONUTF8=1", "LC_ALL=C"}

    def test_a_command_that_make_did_not_start(self, clone: Path) -> None:
        command = [sys.executable, "dev/bootstrap.py", "doctor", "--runtime=embedded"]
        done = run(command, clone, **self.ODD)
        assert "/gr\\" in done.stdout
        assert "Traceback" not in done.stderr


class TestJobs:
    """`make jobs` passes on the id that it was given as one word, which no shell reads."""

    def asked(self, clone: Path, *words: str, **variables: str) -> list[str]:
        """Return what the program was asked to do."""
        log = clone / "log"
        shown = f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{shlex.quote(str(log))}\n"
        program(clone / ".venv/bin/python", shown)
        command = ["make", "--assume-old=env", "jobs-embedded", *words]
        done = run(command, clone, PYTHON=sys.executable, **variables)
        assert done.returncode == 0, done.stderr
        assert not (clone / "pwned").exists()
        return log.read_text().partition("app\njobs\n")[2].splitlines()

    @pytest.mark.parametrize("name", ["RETRY", "CANCEL"])
    @pytest.mark.parametrize(
        "text", ["an-id", "a;touch pwned", "$(touch pwned)", "`touch pwned`", '"; touch pwned; "']
    )
    def test_an_id(self, clone: Path, name: str, text: str) -> None:
        option = f"--{name.lower()}={text}"
        assert self.asked(clone, **{name: text}) == [option]
        # make itself reads a dollar, so this is what somebody types who means the dollar.
        assert self.asked(clone, f"{name}={text.replace('$', '$$')}") == [option]

    def test_none(self, clone: Path) -> None:
        assert self.asked(clone) == []


class TestUmask:
    """Whatever the umask of the checkout, containers can read what Compose mounts from deploy/."""

    def test_open_files(self, clone: Path) -> None:
        for path in (clone / "deploy", *(clone / "deploy").rglob("*")):
            path.chmod(path.stat().st_mode & 0o700)
        assert run(["deploy/open-files"], clone).returncode == 0
        for top in ("development", "postgres", "proxy", "redis.conf"):
            for path in (clone / "deploy" / top, *(clone / "deploy" / top).rglob("*")):
                open_bits = 0o005 if path.is_dir() else 0o004
                assert path.stat().st_mode & open_bits == open_bits, path
        assert (clone / "deploy/pipeline").stat().st_mode & 0o077 == 0

    def test_make_dev_runs_it(self, clone: Path) -> None:
        assert "deploy/open-files" in run(["make", "--dry-run", "dev-docker"], clone).stdout


class TestEngine:
    """`make dev` takes Docker only if it can be used, and says why it does not."""

    def test_a_command_that_hangs_is_ended(self) -> None:
        """Its child too, or the shell that reads the output would wait for it."""
        done = run(["dev/within", "1", "sh", "-c", "echo begun; sleep 600 & wait"], ROOT)
        assert done.returncode != 0
        assert done.stdout == "begun\n"
        assert done.stderr == "No answer within 1 s: sh -c echo begun; sleep 600 & wait\n"

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("exec sleep 60", "Docker gives no answer within"),
            ("echo 'no daemon' >&2; exit 1", "no daemon"),
            (
                """case $1 in info) echo '{"ServerVersion": "28.0.0"}' ;; compose) false ;; esac""",
                "Compose is missing, 2.28.0 or newer",
            ),
        ],
    )
    def test_it(
        self,
        script: str,
        reason: str,
        fake_docker: Callable[[str], None],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        fake_docker(script)
        monkeypatch.setattr("dev.stack.SECONDS", 1)
        assert doctor.choose() == 0
        out, err = capsys.readouterr()
        assert (out, reason in err) == ("embedded\n", True)


class TestFileNames:
    """Every file can exist on Windows and on a disk that ignores case."""

    def test_no_name_is_refused_or_taken_twice(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True, text=True
        )
        if listed.returncode:
            pytest.skip("a downloaded archive has no list of its files")
        names = listed.stdout.split("\0")
        assert len({name.lower() for name in names}) == len(names)
        refused = re.compile(
            r'[<>:"|?*\\]|[. ](/|$)|(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.|/|$)', re.IGNORECASE
        )
        assert [name for name in names if refused.search(name)] == []
