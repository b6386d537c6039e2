"""`make update`: takes in what the source of this repository has learned since it was cloned.

It renders the old and the new version under this service's name, and merges the difference. It
commits nothing, and before the merge it changes nothing.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from difflib import ndiff
from pathlib import Path

from dev.errors import DevError

ROOT = Path(__file__).resolve().parent.parent
NOTE = ".template.toml"
IDENTITY = [
    "-c",
    "user.name=update",
    "-c",
    "user.email=update@localhost",
    "-c",
    "commit.gpgsign=false",
]


def update() -> int:
    """Merge the version TO into the work tree; return 1 if conflicts are left."""
    try:
        if git(ROOT, "rev-parse", "--show-prefix"):
            raise DevError(
                "make update works only where the service is the whole repository.\n"
                "Here the new version's files would land at the root of a larger one."
            )
        if git(ROOT, "status", "--porcelain"):
            raise DevError(
                "There are changes that are not committed. Commit or stash them first.\n"
                "If an update was interrupted, undo it: git reset --hard"
            )
        note = read_note()
        with tempfile.TemporaryDirectory() as made:
            return merge(note, Path(made))
    except subprocess.CalledProcessError as error:
        raise DevError(f"{error.stderr or error}\nTo undo the update: git reset --hard") from None


def read_note() -> dict[str, str]:
    """Return what init has recorded. FROM and SOURCE take its place."""
    file = ROOT / NOTE
    note = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {
        "tree": os.environ.get("FROM") or note.get("tree", ""),
        "source": os.environ.get("SOURCE") or note.get("source", ""),
        "name": note.get("name") or project["name"],
        "sample": note.get("sample") or os.environ.get("SAMPLE") or "yes",
    }
    if not found["tree"]:
        raise DevError(f"{NOTE} is missing. Name the version that you cloned: make update FROM=…")
    return found


def merge(note: dict[str, str], made: Path) -> int:
    """Render both versions, merge the difference, and print what happened."""
    wanted = os.environ.get("TO", "")
    source = fetch(note["source"], made / "source", is_archive=Path(wanted).is_file())
    wanted = wanted or newest(source, note["tree"])
    logs = []
    renders = []
    for label, version in (("old", note["tree"]), ("new", wanted)):
        folder = unpack(version, source, made / label)
        tree = git(folder, "rev-parse", "HEAD^{tree}")
        changelog = folder / "CHANGELOG.md"
        logs.append(changelog.read_text(encoding="utf-8") if changelog.exists() else "")
        renders.append((tree, render(folder, note)))
    (old_tree, old), (new_tree, new) = renders
    if old_tree == new_tree:
        print("This is the newest version already.")
        return 0
    base = commit(old)
    pick(commit(new, "-p", base))
    deleted = settle()
    write_note(note | {"tree": new_tree})
    left = git(ROOT, "diff", "--name-only", "--diff-filter=U").splitlines()
    locked = lock(left)
    before, after = (log.splitlines() for log in logs)
    told = [line[2:] for line in ndiff(before, after) if line[:2] == "+ "]
    print("\n".join(["What changed:", *told, ""]))
    for path in deleted:
        print(f"{path} stays deleted; the new version changes it.")
    print(*(f"{path} has conflicts." for path in left), sep="\n")
    if not locked:
        print("The locks were not made anew. When that is possible: make lock")
    solve = "solve the conflicts, " if left else ""
    print(f"Next: {solve}make check, git commit. To undo it: git reset --hard")
    return 1 if left else 0


def pick(version: str) -> None:
    """Merge what the version changes. Conflicts are no error, but a refusal of git is one."""
    words = ["git", *IDENTITY, "cherry-pick", "--no-commit", "--allow-empty", version]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode and not git(ROOT, "ls-files", "--unmerged"):
        raise DevError(f"git could not merge:\n{done.stderr}")


def fetch(source: str, folder: Path, *, is_archive: bool) -> Path:
    """Return a repository that has the versions: the source's, or this one for archives."""
    if is_archive or not source:
        if not is_archive:
            raise DevError(
                "The source is unknown. Name its address or an archive of the new version:\n"
                "make update SOURCE=https://… or make update TO=new.tar.gz"
            )
        return ROOT
    subprocess.run(
        ["git", "clone", "--quiet", "--bare", "--", source, folder],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder


def newest(source: Path, old: str) -> str:
    """Return the newest tag, or HEAD if there is none, or the old version if it is newer."""
    tags = git(source, "tag", "--list", "v*", "--sort=-v:refname").splitlines()
    if not tags or not has(source, old):
        return (tags or ["HEAD"])[0]
    tree = git(source, "rev-parse", f"{old}^{{tree}}")
    is_newer = tree not in git(source, "log", "--format=%T", tags[0]).split()
    is_known = tree in git(source, "log", "--all", "--format=%T").split()
    return old if is_newer and is_known else tags[0]


def unpack(version: str, source: Path, folder: Path) -> Path:
    """Write the files of an archive, or of a tree of the source, into a repository of its own."""
    folder.mkdir()
    if Path(version).is_file():
        if not tarfile.is_tarfile(version):  # shutil loses the modes of files in a zip
            raise DevError(f"{version} is not a tar archive. Take the .tar.gz of the version.")
        shutil.unpack_archive(version, folder, "gztar")
        inside = list(folder.iterdir())
        folder = inside[0] if len(inside) == 1 else folder
    else:
        where = next((at for at in (source, ROOT) if has(at, version)), None)
        if where is None:
            raise DevError(f"The source has no version {version}. Choose another TO or FROM.")
        packed = folder.with_suffix(".tar")
        git(where, "archive", f"--output={packed}", f"{version}^{{tree}}")
        shutil.unpack_archive(packed, folder)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, *IDENTITY, "commit", "--quiet", "--no-verify", "--message", version)
    return folder


def has(repository: Path, version: str) -> bool:
    words = ["git", "rev-parse", "--quiet", "--verify", "--end-of-options", f"{version}^{{tree}}"]
    return not subprocess.run(words, cwd=repository, check=False, capture_output=True).returncode


def render(folder: Path, note: dict[str, str]) -> Path:
    """Let the version's own init give it this service's name and options."""
    if not (folder / "template" / "init").is_dir():
        raise DevError(
            "That version has no init that update can run. Choose a newer version. If the SOURCE\n"
            f"is your own repository, write the address that you cloned from into {NOTE}."
        )
    (folder / ".git" / "info" / "exclude").write_text(".venv\n")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    words = [sys.executable, "-m", "template.init", note["name"], note["sample"]]
    subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
    (folder / NOTE).unlink(missing_ok=True)
    return folder


def commit(folder: Path, *words: str) -> str:
    """Store the folder's files as a commit of this repository; return its hash."""
    git(folder, "add", "--all")
    git(folder, *IDENTITY, "commit", "--quiet", "--no-verify", "--message", "rendered")
    git(ROOT, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(folder), "HEAD")
    tree = git(folder, "rev-parse", "HEAD^{tree}")
    return git(ROOT, *IDENTITY, "commit-tree", tree, *words, "-m", "version")


def settle() -> list[str]:
    """Keep deleted what was deleted here, and take the new locks; return the deleted files."""
    deleted = []
    for entry in git(ROOT, "status", "--porcelain", "-z").split("\0"):
        state, path = entry[:2], entry[3:]
        if state == "DU":
            git(ROOT, "rm", "--quiet", "--force", "--", path)
            deleted.append(path)
        elif state in {"UU", "AA"} and path.startswith("requirements") and path.endswith(".txt"):
            git(ROOT, "checkout", "--theirs", "--", path)
            git(ROOT, "add", "--", path)
    return deleted


def lock(left: list[str]) -> bool:
    """Make the locks anew; return False if that failed or pyproject.toml has conflicts."""
    if {"pyproject.toml", "Makefile"} & set(left):
        return False
    done = subprocess.run(["make", "lock"], cwd=ROOT, check=False, capture_output=True)
    git(ROOT, "add", "--update", "--", "requirements*.txt")
    return not done.returncode


def write_note(note: dict[str, str]) -> None:
    """Record the version that is here now."""
    text = "# Where this came from: make update reads it.\n"
    text += "".join(f'{key} = "{note[key]}"\n' for key in ("tree", "source", "name", "sample"))
    (ROOT / NOTE).write_text(text, encoding="utf-8")
    git(ROOT, "add", "--", NOTE)


def git(folder: Path, *words: str) -> str:
    """Return what git prints; raise CalledProcessError with its message."""
    run = ["git", *words]
    done = subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.rstrip("\n")
