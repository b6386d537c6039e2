"""What `make feature` has written here, so that UNDO removes nothing that somebody has edited."""

import json
from hashlib import sha256
from pathlib import Path

from dev.files import LOCAL, ROOT

REGISTRY = ROOT / "app/registry.py"


def record(things: str) -> Path:
    return LOCAL / "features" / f"{things}.json"


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def note(things: str, files: list[Path]) -> None:
    kept = {str(path.relative_to(ROOT)): digest(path) for path in files}
    record(things).parent.mkdir(parents=True, exist_ok=True)
    record(things).write_text(json.dumps(kept), encoding="utf-8")
