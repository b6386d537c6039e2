"""`summary.py FOLDER`: prints the results of a run of the pipeline as Markdown.

Each folder in FOLDER has the facts.json and gate.json of an image. PUBLISHED, TAGS, REGISTRY and
REPOSITORY come from the environment. Without PUBLISHED nothing was published.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def found(gate: dict[str, Any] | None) -> str:
    if gate is None:
        return "not scanned"
    stopping = [finding for finding in gate["findings"] if finding["blocks"]]
    rest = len(gate["findings"]) - len(stopping)
    names = ", ".join(f"{finding['id']} in {finding['where']}" for finding in stopping[:5])
    more = " …" if len(stopping) > len(names.split(", ")) else ""
    verdict = f"**{len(stopping)} stop it**: {names}{more}" if stopping else "nothing stops it"
    return f"{verdict}; {rest} to know of, {gate['accepted']} accepted, {gate['packages']} packages"


def images(folder: Path) -> Iterator[str]:
    files = sorted(folder.glob("*/facts.json"))
    if files:
        yield "| image | digest | scan |"
        yield "|---|---|---|"
    for file in files:
        facts = json.loads(file.read_text(encoding="utf-8"))
        verdict = file.with_name("gate.json")
        gate = json.loads(verdict.read_text(encoding="utf-8")) if verdict.exists() else None
        yield f"| {facts['architecture']} | `{facts['digest']}` | {found(gate)} |"


def publication(environment: Mapping[str, str]) -> Iterator[str]:
    digest, tags = environment.get("PUBLISHED"), environment.get("TAGS", "").split()
    if not digest or not tags:
        yield "Nothing was published."
        return
    registry, repository = environment["REGISTRY"], environment["REPOSITORY"]
    image = f"{registry}/{repository.lower()}@{digest}"
    yield f"Published as `{image}`, tagged {', '.join(f'`{tag}`' for tag in tags)}."
    yield ""
    yield "```console"
    yield f"make verify REGISTRY={registry} REPOSITORY={repository} TAG={tags[0]}"
    yield "```"


def main() -> None:
    folder = Path(sys.argv[1])
    blocks = (publication(os.environ), images(folder))
    print("\n\n".join(text for block in blocks if (text := "\n".join(block))))


if __name__ == "__main__":
    main()
