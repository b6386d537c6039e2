"""Whether a run passed. NEEDS has the results of its jobs: GitHub's `needs` as JSON.

Every job must succeed. Publishing may be skipped except on main (MAIN is true there), and building
an image may be skipped for a commit that is published.
"""

import json
import os
import sys
from typing import Any


def may_be_skipped(needs: dict[str, Any], *, main: bool) -> set[str]:
    published = needs["plan"].get("outputs", {}).get("published")
    built = {"build", "containers", "scan", "code-scanning"}
    return (set() if main else {"publish"}) | (built if published else set())


def main() -> int:
    needs: dict[str, Any] = json.loads(os.environ["NEEDS"])
    skippable = may_be_skipped(needs, main=os.environ["MAIN"] == "true")
    wrong = [
        f"{name}: {job['result']}"
        for name, job in needs.items()
        if job["result"] != "success" and not (job["result"] == "skipped" and name in skippable)
    ]
    print("\n".join(wrong) or "Everything passed.", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
