"""The text files of the repository: read them, change them in memory, write them."""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


class Refused(Exception):
    """init did not start, and nothing was changed. The message has the reason and the remedy."""


@dataclass
class Tree:
    """The text files of a repository. Nothing is written before `apply`."""

    root: Path
    before: dict[PurePosixPath, str] = field(default_factory=dict)
    texts: dict[PurePosixPath, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> "Tree":
        """Read the files that git does not ignore. Binary files and links stay unchanged."""
        names = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        found = {PurePosixPath(name): read_text(root / name) for name in names.split("\0") if name}
        before = {path: text for path, text in found.items() if text is not None}
        return cls(root, before, dict(before))

    @property
    def removed(self) -> set[PurePosixPath]:
        """The files that `apply` removes."""
        return self.before.keys() - self.texts.keys()

    @property
    def changed(self) -> set[PurePosixPath]:
        """The files that `apply` writes."""
        return {path for path, text in self.texts.items() if text != self.before.get(path)}

    def apply(self) -> None:
        """Write and remove files. Each write is atomic, so a kill leaves no half-written file."""
        for path in sorted(self.changed):
            file = self.root / path
            written = file.with_name(f"{file.name}.new")
            written.write_bytes(self.texts[path].encode())
            if file.exists():
                shutil.copymode(file, written)
            written.replace(file)
        for path in sorted(self.removed):
            (self.root / path).unlink()
            self._drop_empty_folders(path)

    def _drop_empty_folders(self, path: PurePosixPath) -> None:
        """Remove folders that contain only bytecode now."""
        for parent in list(path.parents)[:-1]:
            folder = self.root / parent
            if any(entry.name != "__pycache__" for entry in folder.iterdir()):
                return
            shutil.rmtree(folder)


def read_text(path: Path) -> str | None:
    """Return the text of a file with its line ends, or None if it is not text."""
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
        raise Refused(
            "git is not installed. init needs it, so that you can undo its changes."
        ) from None
    if done.returncode:
        raise Refused(
            f"git {words[0]} failed: {done.stderr.strip()}\n"
            "init needs a clone. If there is no history: git init && git add --all && git commit"
        )
    return done.stdout
