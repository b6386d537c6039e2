"""`report.py FOLDER`: opens or updates an issue about the findings in the published image.

FOLDER holds a gate.json for each architecture. There is one open issue at a time. It changes only
if the findings change. Needs gh and GH_TOKEN.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TITLE = "The published image has findings that can be fixed"
BODY = """A scan of the image `latest` found:

| what | where | severity | remedy |
|---|---|---|---|
{rows}

A new commit on main builds a new image, with the newest base and the locked packages. If a locked
package is named, run `make lock LOCK_FLAGS=--upgrade` first. To accept a finding for some time, add
it to `.trivyignore.yaml` with a reason and a date."""


def gh(*words: str) -> str:
    command = ["gh", "issue", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def body(folder: Path) -> str:
    """List what can be fixed. A finding of several architectures is listed once."""
    found = {
        (finding["kind"], finding["id"], finding["where"], finding["severity"], finding["remedy"])
        for file in folder.glob("*/gate.json")
        for finding in json.loads(file.read_text(encoding="utf-8"))["findings"]
        if finding["blocks"]
    }
    return BODY.format(rows="\n".join(f"| {' | '.join(row[1:])} |" for row in sorted(found)))


def open_issue() -> dict[str, Any] | None:
    asked = ("--state", "open", "--search", f'in:title "{TITLE}"', "--json", "number,title,body")
    found: list[dict[str, Any]] = json.loads(gh("list", *asked))
    return next((issue for issue in found if issue["title"] == TITLE), None)


def main() -> None:
    text = body(Path(sys.argv[1]))
    issue = open_issue()
    if issue is None:
        print(gh("create", "--title", TITLE, "--body", text))
    elif issue["body"].replace("\r", "") == text:
        print(f"Issue {issue['number']} is up to date.")
    else:
        number = str(issue["number"])
        gh("edit", number, "--body", text)
        gh("comment", number, "--body", "The findings changed, and so did the list above.")
        print(f"Issue {number} is updated.")


if __name__ == "__main__":
    main()
