"""`make update` in a small clone, whose source has an init that only renames."""

import subprocess
from pathlib import Path

import pytest

from dev import update as command
from dev.errors import DevError
from template.tests.init.conftest import git, save

INIT = """\
import shutil, subprocess, sys
from pathlib import Path
for file in Path().rglob("*"):
    if file.is_file() and not {".git", ".venv", "__pycache__"} & set(file.parts):
        file.write_text(file.read_text().replace("drydock", sys.argv[1]))
shutil.rmtree("template")
subprocess.run(["git", "add", "--all"], check=True)
"""
LINES = "".join(f"{number}\n" for number in range(20))
FILES = {
    "template/init/__init__.py": "",
    "template/init/__main__.py": INIT,
    "pyproject.toml": '[project]\nname = "drydock"\n',
    "Makefile": "lock:\n\techo of-$$(wc -c <pyproject.toml) >requirements.txt\n",
    "requirements.txt": "old\n",
    "CHANGELOG.md": "# Changelog\n\n- first\n",
    "app.py": f"drydock\n{LINES}",
    "gone.py": "1\n",
    "mine.py": LINES,
}
Said = pytest.CaptureFixture[str]


class Pair:
    """A source and a clone of it that has another name."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.root = folder / "clone"
        self.source.mkdir()
        git(folder, "init", "--quiet", str(self.source))
        self.write(self.source, FILES)
        self.old = git(self.source, "rev-parse", "HEAD^{tree}").strip()
        git(folder, "clone", "--quiet", str(self.source), str(self.root))
        (self.root / ".venv").mkdir()
        (self.root / ".git/info/exclude").write_text(".venv\n")
        subprocess.run(["python3", "-m", "template.init", "seamark"], check=True, cwd=self.root)
        self.write(self.root, {".template.toml": self.note()})

    def note(self) -> str:
        return f'tree = "{self.old}"\nsource = "{self.source}"\nname = "seamark"\nsample = "yes"\n'

    def write(self, root: Path, files: dict[str, str]) -> None:
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        save(root)

    def release(self, tag: str = "v1.1.0", **files: str) -> None:
        """Change files of the source: their names have _ for the dot."""
        named = {name.replace("_", "."): text for name, text in files.items()}
        self.write(self.source, named)
        if tag:
            git(self.source, "tag", tag)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    made = Pair(tmp_path)
    monkeypatch.setattr(command, "ROOT", made.root)
    monkeypatch.chdir(made.root)
    for name in ("FROM", "TO", "SOURCE", "SAMPLE", "MAKEFLAGS"):
        monkeypatch.delenv(name, raising=False)
    return made


class TestMerge:
    """What the source changed arrives under the clone's name, and what the team did stays."""

    def test_both_sides_changed_a_file(self, pair: Pair, capsys: Said) -> None:
        pair.write(pair.root, {"app.py": f"seamark\n{LINES}team\n"})
        pair.release(app_py=f"drydock 2\n{LINES}", CHANGELOG_md="# Changelog\n\n- 2\n- first\n")
        assert command.update() == 0
        assert pair.read("app.py") == f"seamark 2\n{LINES}team\n"
        said = capsys.readouterr().out
        assert "- 2\n" in said
        assert "- first" not in said
        assert pair.old not in pair.read(".template.toml")
        assert git(pair.root, "log", "--oneline").count("\n") == 3

    def test_new_text_with_the_name_of_the_team(self, pair: Pair) -> None:
        pair.release(app_py=f"drydock\n{LINES}a seamark is no drydock\n")
        command.update()
        assert pair.read("app.py").endswith("a seamark is no seamark\n")
        save(pair.root)
        pair.release("v1.2.0", app_py=f"drydock\n{LINES}a seamark is no drydock!\n")
        assert command.update() == 0
        assert pair.read("app.py").endswith("a seamark is no seamark!\n")

    def test_what_was_deleted_stays_deleted(self, pair: Pair, capsys: Said) -> None:
        (pair.root / "gone.py").unlink()
        save(pair.root)
        pair.release(gone_py="2\n")
        assert command.update() == 0
        assert not (pair.root / "gone.py").exists()
        assert "gone.py stays deleted" in capsys.readouterr().out

    def test_a_file_that_the_team_renamed(self, pair: Pair) -> None:
        git(pair.root, "mv", "mine.py", "ours.py")
        save(pair.root)
        pair.release(mine_py=f"{LINES}new\n")
        assert command.update() == 0
        assert pair.read("ours.py").endswith("new\n")
        assert not (pair.root / "mine.py").exists()

    def test_a_conflict_has_markers(self, pair: Pair, capsys: Said) -> None:
        pair.write(pair.root, {"gone.py": "team\n"})
        pair.release(gone_py="source\n")
        assert command.update() == 1
        assert "<<<<<<<" in pair.read("gone.py")
        assert "gone.py has conflicts" in capsys.readouterr().out
        git(pair.root, "reset", "--quiet", "--hard")  # as the message says
        assert git(pair.root, "status", "--porcelain") == ""
        assert pair.read("gone.py") == "team\n"

    def test_both_sides_changed_the_locks(self, pair: Pair) -> None:
        pair.write(pair.root, {"requirements.txt": "team\n"})
        pair.release(requirements_txt="source\n")
        assert command.update() == 0
        assert pair.read("requirements.txt").startswith("of-")
        assert git(pair.root, "diff", "--name-only") == ""

    def test_locks_that_cannot_be_made_are_the_source_s(self, pair: Pair, capsys: Said) -> None:
        pair.write(pair.root, {"requirements.txt": "team\n", "Makefile": "lock:\n\tfalse\n"})
        pair.release(requirements_txt="source\n")
        assert command.update() == 0
        assert pair.read("requirements.txt") == "source\n"
        assert "make lock" in capsys.readouterr().out


class TestVersions:
    """Which versions it compares."""

    def test_the_newest_tag(self, pair: Pair) -> None:
        pair.release("v1.9.0", gone_py="9\n")
        pair.release("v1.10.0", gone_py="10\n")
        pair.release("", gone_py="not released\n")
        command.update()
        assert pair.read("gone.py") == "10\n"

    def test_a_clone_newer_than_the_newest_tag_stays(self, pair: Pair, capsys: Said) -> None:
        git(pair.source, "commit", "--quiet", "--allow-empty", "-m", "x")
        pair.release("", gone_py="not released\n")
        git(pair.source, "tag", "v1.0.0", "HEAD~2")
        pair.old = git(pair.source, "rev-parse", "HEAD^{tree}").strip()
        pair.write(pair.root, {".template.toml": pair.note()})
        assert command.update() == 0
        assert "newest version already" in capsys.readouterr().out
        assert git(pair.root, "status", "--porcelain") == ""

    def test_a_source_without_tags(self, pair: Pair) -> None:
        pair.release("", gone_py="2\n")
        command.update()
        assert pair.read("gone.py") == "2\n"

    def test_a_clone_without_the_record(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        (pair.root / ".template.toml").unlink()
        save(pair.root)
        pair.release(gone_py="2\n")
        with pytest.raises(DevError, match="FROM="):
            command.update()
        monkeypatch.setenv("FROM", "v1.1.0~1")
        monkeypatch.setenv("SOURCE", str(pair.source))
        assert command.update() == 0
        assert pair.read("gone.py") == "2\n"
        assert 'name = "seamark"' in pair.read(".template.toml")

    def test_offline_from_archives(
        self, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pair.release(gone_py="2\n")
        for name, version in (("FROM", "HEAD~1"), ("TO", "HEAD")):
            file = tmp_path / f"{name}.tar.gz"
            git(pair.source, "archive", "--prefix=drydock-1/", f"--output={file}", version)
            monkeypatch.setenv(name, str(file))
        pair.source.rename(tmp_path / "away")
        assert command.update() == 0
        assert pair.read("gone.py") == "2\n"

    def test_a_zip_is_refused(
        self, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        git(pair.source, "archive", f"--output={tmp_path}/new.zip", "HEAD")
        monkeypatch.setenv("TO", str(tmp_path / "new.zip"))
        with pytest.raises(DevError, match="tar archive"):
            command.update()

    def test_a_shallow_clone(
        self, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shallow = tmp_path / "shallow"
        git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{pair.root}", str(shallow))
        (shallow / ".venv").mkdir()
        (shallow / ".git/info/exclude").write_text(".venv\n")
        monkeypatch.setattr(command, "ROOT", shallow)
        pair.release(gone_py="2\n")
        assert command.update() == 0
        assert (shallow / "gone.py").read_text() == "2\n"

    @pytest.mark.parametrize("version", ["v9.9.9", "--output=x", "HEAD:app.py"])
    def test_an_unknown_version(
        self, pair: Pair, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TO", version)
        with pytest.raises(DevError, match="no version"):
            command.update()

    def test_an_unknown_source(self, pair: Pair) -> None:
        pair.write(pair.root, {".template.toml": pair.note().replace(str(pair.source), "")})
        with pytest.raises(DevError, match="SOURCE=https"):
            command.update()


class TestRefusals:
    """It refuses to start if git could not undo it."""

    def test_unsaved_work(self, pair: Pair) -> None:
        (pair.root / "new.txt").write_text("mine\n")
        with pytest.raises(DevError, match="not committed"):
            command.update()

    def test_a_folder_without_history(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        (pair.root / ".git").rename(pair.root / "gone")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(pair.root.parent))
        with pytest.raises(DevError, match="not a git repository"):
            command.update()

    def test_interrupted(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        pair.release(gone_py="2\n", new_py="new\n")
        with monkeypatch.context() as patch:
            patch.setattr(command, "settle", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                command.update()
        with pytest.raises(DevError, match="git reset --hard"):
            command.update()
        git(pair.root, "reset", "--quiet", "--hard")
        assert command.update() == 0
        assert pair.read("new.py") == "new\n"
