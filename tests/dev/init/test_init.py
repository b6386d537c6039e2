"""`make init NAME=…`: one name for another, once, and back."""

import os
import subprocess
from pathlib import Path

import pytest

from dev.init.__main__ import main
from tests.dev.init.conftest import FILES, git, save


class TestRename:
    """Every spelling of the old name becomes the new one, in files and in their names."""

    def test_in_the_spelling_that_it_had(self, clone: Path) -> None:
        assert main(["seamark", ""]) == 0
        assert (clone / "app/main.py").read_text() == ('TITLE = "Seamark"\nTOKEN = "seamark_"\n')
        assert (clone / "compose.yaml").read_bytes() == (b"name: seamark\r\nimage: SEAMARK\r\n")

    def test_no_trace_is_left_but_in_what_is_no_text(self, clone: Path) -> None:
        main(["seamark", ""])
        found = [path for path in clone.rglob("*") if path.is_file() and ".git/" not in str(path)]
        traces = [path.name for path in found if b"drydock" in path.read_bytes().lower()]
        assert traces == ["logo.png"]
        assert (clone / "app/seamark.conf").exists()
        assert not (clone / "app/drydock.conf").exists()

    def test_locks_keep_everything_else(self, clone: Path) -> None:
        main(["seamark", ""])
        expected = FILES["requirements.txt"].replace("drydock", "seamark")
        assert (clone / "requirements.txt").read_text() == expected

    def test_what_belongs_to_the_template_goes(self, clone: Path) -> None:
        main(["seamark", ""])
        assert (clone / "CHANGELOG.md").read_text() == "# Changelog\n\nEnd.\n"

    def test_modes_and_links_stay(self, clone: Path) -> None:
        main(["seamark", ""])
        assert (clone / "deploy/run").stat().st_mode & 0o777 == 0o755
        assert (clone / "link").is_symlink()

    def test_it_tells_what_it_did_and_how_to_undo_it(
        self, clone: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (clone / ".local/postgres").mkdir(parents=True)
        main(["seamark", ""])
        said = capsys.readouterr().out
        assert "drydock is seamark now: 11 places in 7 files" in said
        assert "      3       app/" in said
        assert "app/drydock.conf is app/seamark.conf now" in said
        assert "git reset --hard" in said
        assert "make clean-data" in said

    def test_git_undoes_it(self, clone: Path) -> None:
        before = {path: path.read_bytes() for path in clone.rglob("*.*") if path.is_file()}
        main(["seamark", ""])
        git(clone, "reset", "--quiet", "--hard")
        assert git(clone, "status", "--porcelain") == ""
        assert {path: path.read_bytes() for path in before} == before
        assert not (clone / "app/seamark.conf").exists()


class TestAgain:
    """A second run changes nothing; another name takes the place of the present one."""

    def test_the_same_name(self, clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["seamark", ""])
        staged = git(clone, "diff", "--cached")
        capsys.readouterr()
        assert main(["seamark", ""]) == 0  # though nothing is committed yet
        assert capsys.readouterr().out == "This is seamark already.\nNothing was changed.\n"
        assert git(clone, "diff", "--cached") == staged

    def test_another_name(self, clone: Path) -> None:
        main(["seamark", ""])
        save(clone)
        assert main(["lighthouse", ""]) == 0
        assert "seamark" not in git(clone, "grep", "--cached", "-i", "-e", "mark", "-e", "house")
        assert main(["drydock", ""]) == 1  # not yet: nothing of this was committed
        save(clone)
        assert main(["drydock", ""]) == 0
        assert (clone / "app/main.py").read_text() == FILES["app/main.py"]

    def test_a_feature_of_the_same_name_is_in_the_way(
        self, clone: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["seamark", ""])
        (clone / "app/features/seamark").mkdir(parents=True)
        (clone / "app/features/seamark/models.py").write_text("\n")
        save(clone)
        assert main(["lighthouse", ""]) == 1
        assert "app/features/seamark is called like the project" in capsys.readouterr().err
        assert git(clone, "status", "--porcelain") == ""


class TestUnsavedWork:
    """What git could not bring back is never touched."""

    @pytest.mark.parametrize("name", ["new.txt", "app/main.py"])
    def test_it_is_refused(
        self, clone: Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (clone / name).write_text("mine, of drydock\n")
        assert main(["seamark", ""]) == 1
        said = capsys.readouterr().err
        assert name in said
        assert "git stash --include-untracked" in said
        assert (clone / name).read_text() == "mine, of drydock\n"

    def test_what_git_ignores_is_nobodys_work(self, clone: Path) -> None:
        (clone / ".local").mkdir()
        (clone / ".local/token").write_text("drydock_1\n")
        assert main(["seamark", ""]) == 0
        assert (clone / ".local/token").read_text() == "drydock_1\n"

    def test_a_folder_without_history(
        self, clone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (clone / ".git").rename(clone / "gone")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(clone.parent))
        assert main(["seamark", ""]) == 1
        assert "git init" in capsys.readouterr().err


class TestUsage:
    """Without a name it says how it is used."""

    @pytest.mark.parametrize("words", [[], ["", ""], ["seamark", "maybe"], ["", "yes"]])
    def test_exits_with_2(
        self, clone: Path, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(words) == 2
        assert "make init NAME=" in capsys.readouterr().err

    def test_a_name_that_was_not_typed_is_none(self) -> None:
        # WSL sets NAME to the machine's own for every program.
        done = subprocess.run(
            ["make", "init"],
            check=False,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "NAME": "desktop", "SAMPLE": "no"},
        )
        assert done.returncode == 2
        assert "Say how the service is to be called" in done.stderr
