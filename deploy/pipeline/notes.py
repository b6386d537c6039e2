"""`notes.py VERSION`: prints the section of CHANGELOG.md about a version, without its heading.

They become the notes of a release. The exit code is 1 if there is no such section or it is empty.
"""

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parent.parent.parent / "CHANGELOG.md"


def section(changelog: str, version: str) -> str:
    """Return the text below `## [version]`, up to the next such heading or the links."""
    heading = rf"^## \[?{re.escape(version)}\]?(?: [^\n]*)?$"
    found = re.search(
        rf"{heading}\n(.*?)(?=^## |^\[[^\]]+\]: |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    return found[1].strip() if found else ""


def main() -> int:
    version = sys.argv[1].removeprefix("v")
    notes = section(CHANGELOG.read_text(encoding="utf-8"), version)
    if not notes:
        print(f"CHANGELOG.md has nothing to say about {version}: '## [{version}]'", file=sys.stderr)
        return 1
    print(notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
