"""The repository as git sees it: which files, what they hold, and changing them all at once."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dev.errors import DevError


@dataclass
class Tree:
    """The tracked text files of a folder, and what is to become of them.

    Nothing is written before `apply`.
    """

    root: Path
    texts: dict[PurePosixPath, str] = field(default_factory=dict)
    before: Mapping[PurePosixPath, str] = field(default_factory=dict)
    # Removed files count too when they are no text.
    removed: list[PurePosixPath] = field(default_factory=list)
    moved: dict[PurePosixPath, PurePosixPath] = field(default_factory=dict)
    others: list[PurePosixPath] = field(default_factory=list)

    @classmethod
    def read(cls, root: Path) -> "Tree":
        """Read what git tracks. What is no UTF-8, or a link, is left as it is."""
        tree = cls(root)
        for name in filter(None, git(root, "ls-files", "-z").split("\0")):
            text = read_text(root / name)
            if text is None:
                tree.others.append(PurePosixPath(name))
            else:
                tree.texts[PurePosixPath(name)] = text
        tree.before = dict(tree.texts)
        return tree

    @property
    def changed(self) -> list[PurePosixPath]:
        """The files whose text is another one now."""
        return [path for path, text in self.texts.items() if text != self.before[path]]

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file, or a folder with all in it, from the next `apply` on."""
        gone = [file for file in [*self.texts, *self.others] if file.is_relative_to(path)]
        for file in gone:
            self.texts.pop(file, None)
        self.others = [file for file in self.others if file not in gone]
        self.removed += gone

    def apply(self) -> None:
        """Write, remove and move. Afterwards nothing is pending."""
        for path in self.changed:
            (self.root / path).write_bytes(self.texts[path].encode())
        for path in self.removed:
            (self.root / path).unlink()
            self._drop_empty_folders(path)
        for path, target in self.moved.items():
            (self.root / target).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).rename(self.root / target)
            self._drop_empty_folders(path)

    def _drop_empty_folders(self, path: PurePosixPath) -> None:
        """Git knows no folders. What Python left in them goes along."""
        for parent in list(path.parents)[:-1]:
            folder = self.root / parent
            if any(entry.name != "__pycache__" for entry in folder.iterdir()):
                return
            shutil.rmtree(folder)


def read_text(path: Path) -> str | None:
    """Return what a file holds, its line ends as they are; None if that is no text."""
    if path.is_symlink() or not path.is_file():
        return None
    data = path.read_bytes()
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def git(root: Path, *words: str) -> str:
    """Run git and return what it printed."""
    try:
        done = subprocess.run(
            ["git", "-C", root, *words], check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise DevError("git is not installed: what is changed here is undone with it.") from None
    if done.returncode:
        raise DevError(
            f"git {words[0]} failed: {done.stderr.strip()}\n"
            "It takes a clone; in a folder without history: git init && git add --all && git commit"
        )
    return done.stdout


def refuse_unsaved_work(root: Path) -> None:
    """Raise unless everything is committed: `git reset --hard` is how this is undone."""
    unsaved = git(root, "status", "--porcelain").splitlines()
    if unsaved:
        shown = "\n".join(f"  {line}" for line in unsaved[:5])
        raise DevError(
            "There are changes that are not committed, and undoing this would undo them too:\n"
            f"{shown}\nCommit or stash them first: git stash --include-untracked"
        )
