"""`make init NAME=…`: another name, without template/, and without the sample if asked."""

import os
import subprocess
from pathlib import Path

import pytest

import template.init.__main__ as command
from dev.stack import Container
from template import ROOT
from template.init.__main__ import SAMPLE, is_sample, main
from template.init.tree import Tree
from template.tests.init.conftest import git, save

Said = pytest.CaptureFixture[str]


class TestRename:
    """Every spelling of the old name becomes the new one, and nothing else changes."""

    def test_in_the_spelling_that_it_had(self, clone: Path) -> None:
        assert main(["seamark"]) == 0
        assert (clone / "app/main.py").read_text() == 'TITLE = "Seamark"\nTOKEN = "seamark_"\n'
        assert (clone / "compose.yaml").read_bytes() == b"name: seamark\r\nimage: SEAMARK\r\n"
        left = [path for path in Tree.read(clone).texts.values() if "drydock" in path.lower()]
        assert left == []

    def test_modes_links_and_binaries_stay(self, clone: Path) -> None:
        main(["seamark"])
        assert (clone / "deploy/run").stat().st_mode & 0o777 == 0o755
        assert (clone / "link").is_symlink()
        assert b"drydock" in (clone / "logo.png").read_bytes()

    def test_no_path_here_holds_the_name(self) -> None:
        """Init renames no files."""
        assert [path for path in Tree.read(ROOT).texts if "drydock" in str(path).lower()] == []


class TestRoom:
    """template/ leaves, with what is marked as its own; the clone's pages take their place."""

    def test_it_leaves(self, clone: Path) -> None:
        main(["seamark"])
        assert not (clone / "template").exists()
        assert (clone / "app/registry.py").read_text() == "a = 1\nb = 2  # sample\n"
        assert (clone / "README.md").read_text().startswith("# Seamark\n\nIt does this.\nIt shor")

    def test_a_file_of_marked_lines_goes_as_a_whole(self, clone: Path) -> None:
        main(["seamark"])
        assert not (clone / "docs/people.md").exists()


class TestSample:
    """SAMPLE=no takes the sample's files and its marked lines out."""

    def test_it_leaves(self, clone: Path) -> None:
        assert main(["seamark", "no"]) == 0
        assert not (clone / "app/features").exists()
        assert not (clone / "docs").exists()
        assert (clone / "app/registry.py").read_text() == "a = 1\n"
        assert (clone / "README.md").read_text() == "# Seamark\n\nIt does this.\n"

    @pytest.mark.parametrize("pattern", SAMPLE)
    def test_what_is_listed_exists(self, pattern: str) -> None:
        """If a file of the sample moves, the list must move with it."""
        assert list(ROOT.glob(pattern))

    def test_a_folder_of_the_same_name_elsewhere_stays(self) -> None:
        paths = Tree.read(ROOT).texts
        assert not any(is_sample("docs" / path) for path in paths)
        assert any(map(is_sample, paths))


class TestUndo:
    """git brings everything back, and a run that was killed can be run again."""

    def test_git_undoes_it(self, clone: Path) -> None:
        before = {path: path.read_bytes() for path in clone.rglob("*.*") if path.is_file()}
        main(["seamark", "no"])
        git(clone, "reset", "--quiet", "--hard")
        assert git(clone, "status", "--porcelain") == ""
        assert {path: path.read_bytes() for path in before} == before

    @pytest.mark.parametrize(
        ("function", "files"), [("replace", 0), ("replace", 2), ("unlink", 0), ("unlink", 1)]
    )
    def test_killed_after_some_files(
        self,
        clone: Path,
        function: str,
        files: int,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        whole = tmp_path / "whole"
        git(tmp_path, "clone", "--quiet", str(clone), str(whole))
        monkeypatch.setattr(command, "ROOT", whole)
        main(["seamark", "no"])
        monkeypatch.setattr(command, "ROOT", clone)
        with monkeypatch.context() as patch:
            patch.setattr(Path, function, dying(getattr(Path, function), files))
            with pytest.raises(KeyboardInterrupt):
                main(["seamark", "no"])
        assert main(["seamark", "no"]) == 0
        assert git(clone, "ls-files", "-s") == git(whole, "ls-files", "-s")

    def test_another_name_is_refused_until_it_is_undone(
        self, clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Tree, "apply", dying(Tree.apply, 0))
            with pytest.raises(KeyboardInterrupt):
                main(["seamark"])
        assert main(["lighthouse"]) == 1
        assert "make init NAME=seamark SAMPLE=yes` was interrupted" in capsys.readouterr().err
        (clone / "template/.init").unlink()  # as the message says
        assert main(["lighthouse"]) == 0

    @pytest.mark.parametrize("name", ["new.txt", "app/main.py"])
    def test_unsaved_work_is_refused(self, clone: Path, name: str, capsys: Said) -> None:
        """Git could not restore it."""
        (clone / name).write_text("mine, of drydock\n")
        assert main(["seamark"]) == 1
        said = capsys.readouterr().err
        assert name in said
        assert "git stash --include-untracked" in said
        assert (clone / name).read_text() == "mine, of drydock\n"

    def test_what_git_ignores_stays(self, clone: Path, capsys: Said) -> None:
        (clone / ".local/postgres").mkdir(parents=True)
        (clone / ".local/token").write_text("drydock_1\n")
        assert main(["seamark"]) == 0
        assert (clone / ".local/token").read_text() == "drydock_1\n"
        assert "make clean-data" in capsys.readouterr().out

    def test_a_folder_without_history(
        self, clone: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (clone / ".git").rename(clone / "gone")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(clone.parent))
        assert main(["seamark"]) == 1
        assert "git init" in capsys.readouterr().err


class TestSaid:
    """It prints what it did and what comes next. Without a name, it prints its usage."""

    @pytest.mark.parametrize("is_ours", [True, False])
    def test_the_stack_of_the_old_name(
        self,
        clone: Path,
        is_ours: bool,  # noqa: FBT001 - a parameter of the test
        capsys: Said,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It offers to delete this clone's development stack, never that of another clone."""
        folder = clone if is_ours else clone.parent
        found = [
            Container("drydock-dev", folder, {}),
            Container("drydock", clone, {}, "compose.yaml"),
        ]
        monkeypatch.setattr(command, "compose_containers", lambda: found)
        monkeypatch.setattr(command, "claimed_by", lambda _name: None)
        main(["seamark"])
        said = capsys.readouterr().out
        assert ("docker compose --project-name drydock-dev down --volumes" in said) == is_ours
        assert said.count("--volumes") == is_ours

    def test_what_it_did(self, clone: Path, capsys: Said) -> None:
        main(["seamark", "no"])
        assert capsys.readouterr().out.splitlines()[:4] == [
            "drydock is seamark now, in 5 files.",
            "The sample is gone: 2 files, and 1 places in others.",
            "template/ is gone: 2 files, and 2 places in others.",
            "README.md is now the file of a clone: template/clone/README.md.",
        ]

    def test_the_name_that_it_has(self, clone: Path) -> None:
        assert main(["drydock"]) == 0
        save(clone)
        assert not (clone / "template").exists()

    @pytest.mark.parametrize("words", [[], ["", ""], ["seamark", "maybe"], ["", "no"]])
    def test_usage(self, clone: Path, words: list[str], capsys: Said) -> None:
        assert main(words) == 2
        assert "make init NAME=" in capsys.readouterr().err

    def test_a_name_that_was_not_typed_is_none(self) -> None:
        """WSL sets NAME to the name of the machine."""
        done = subprocess.run(
            ["make", "init"],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "NAME": "desktop", "SAMPLE": "no"},
        )
        assert done.returncode == 2
        assert "Give the service a name" in done.stderr


def dying(function: object, calls: int) -> object:
    """The function, interrupted at its call after so many."""

    def call(*words: object, **named: object) -> object:
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise KeyboardInterrupt
        return function(*words, **named)  # type: ignore[operator]

    return call
