"""Takes back what `make feature` wrote. It imports nothing of the service, which may be broken."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dev.errors import DevError
from dev.feature.record import REGISTRY, digest, record
from dev.files import ROOT


def undo(things: str) -> None:
    """Remove the files of the feature and its lines in the registry. Raises as `check`."""
    written = check(things)
    for folder in folders_of(things):
        shutil.rmtree(folder, ignore_errors=True)
    for name in written:
        (ROOT / name).unlink(missing_ok=True)
    registry = REGISTRY.read_text(encoding="utf-8").splitlines(keepends=True)
    gone = (f"    {things},\n", f"from app.features.{things} import feature as {things}\n")
    REGISTRY.write_text("".join(line for line in registry if line not in gone), encoding="utf-8")
    record(things).unlink()
    print(f"{things} is gone: its folders, its migration and its lines in app/registry.py.")


def check(things: str) -> dict[str, str]:
    """The files that were written. Raises `DevError` if one was committed, edited or added."""
    written = read(things)
    committed = subprocess.run(
        ["git", "ls-files", "--", *written], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    refuse(things, "is in git already", committed)
    present = [name for name in written if (ROOT / name).exists()]
    edited = [name for name in present if digest(ROOT / name) != written[name]]
    refuse(things, "was edited", edited)
    found = [path for folder in folders_of(things) for path in folder.rglob("*") if path.is_file()]
    added = [str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts]
    refuse(things, "was added", sorted({*added} - {*written}))
    return written


def folders_of(things: str) -> list[Path]:
    return [ROOT / "app/features" / things, ROOT / "tests/features" / things]


def read(things: str) -> dict[str, str]:
    """The files that were written, with their digests."""
    file = record(things)
    if Path(things).name != things or not file.exists():
        raise DevError(f"UNDO={things}: make feature has written no feature of this name here.")
    written: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return written


def revisions(things: str) -> tuple[str, str]:
    """The revision of its migration, and the one before it. Raises as `check`."""
    [name] = [name for name in check(things) if name.startswith("migrations/")]
    text = (ROOT / name).read_text(encoding="utf-8")
    [(revision, before)] = re.findall(r"^Revision ID: (\w+)\nRevises: (\w+)$", text, re.MULTILINE)
    others = [path for path in (ROOT / name).parent.glob("*.py") if path != ROOT / name]
    later = [
        str(path.relative_to(ROOT))
        for path in others
        if f'"{revision}"' in path.read_text(encoding="utf-8")
    ]
    refuse(things, "follows its migration", later)
    return revision, before


def refuse(things: str, why: str, files: list[str]) -> None:
    if files:
        raise DevError(
            f"UNDO={things}: {files[0]} {why}, so nothing was removed. Remove the feature by hand: "
            "app/registry.py says how."
        )


def main() -> None:
    """Take one back, or only print the revisions; show an expected error without a traceback."""
    parser = argparse.ArgumentParser(prog="python -m dev.feature.undo")
    parser.add_argument("name")
    parser.add_argument(
        "--revisions", action="store_true", help="print that of its migration, and the one before"
    )
    chosen = parser.parse_args()
    try:
        if chosen.revisions:
            print(*revisions(chosen.name))
        else:
            undo(chosen.name)
    except DevError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
