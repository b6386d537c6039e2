"""What GitHub's artifact store does, in folders below $ARTIFACTS. For the workflows' tests only."""

import os
import shutil
import sys
from pathlib import Path

STORE = Path(os.environ["ARTIFACTS"])


def upload() -> None:
    """Take what the paths name, relative to what they have in common, as the action does."""
    name, paths = os.environ["NAME"], [line for line in os.environ["PATHS"].split("\n") if line]
    found = [match for path in paths for match in sorted(Path().glob(path))]
    hidden = any(part.startswith(".") for path in found for part in path.parts)
    if hidden and os.environ["HIDDEN"] != "true":
        found = []
    if not found:
        if os.environ["MISSING"] == "error":
            sys.exit(f"no files for {name}")
        return
    alone = len(found) == 1 and found[0].is_dir()
    root = found[0] if alone else Path(os.path.commonpath([path.parent for path in found]))
    shutil.rmtree(STORE / name, ignore_errors=True)
    for path in found:
        target = STORE / name / path.relative_to(root)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def download() -> None:
    name, pattern, target = os.environ["NAME"], os.environ["PATTERN"], Path(os.environ["PATHS"])
    if name and not (STORE / name).is_dir():
        sys.exit(f"there is no artifact {name}")
    for folder in [STORE / name] if name else sorted(STORE.glob(pattern)):
        own = target if name or os.environ["MERGE"] == "true" else target / folder.name
        shutil.copytree(folder, own, dirs_exist_ok=True)


upload() if sys.argv[1] == "upload" else download()
