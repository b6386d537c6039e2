"""Decides from trivy's reports whether an image may be published, or whether the locks are sound.

    gate.py --exceptions .trivyignore.yaml --database database.json --output gate.json \
            --control control.json --reports REPORT...
    gate.py … --locks requirements.txt… --reports REPORT...

These findings block it: a vulnerability of severity HIGH or CRITICAL that has a fix, a secret, a
misconfiguration, and an exception without a reason, without a date, or after its date. trivy leaves
out the findings that an exception names, until its date.

Exit code 0: nothing blocks it. 1: something does. 2: the scan is not valid, because no report lists
the packages or the Python interpreter, or because the vulnerability database is missing or old.

The control is the report of an old Python: if it has no finding, the database does not know Python.
With --locks there is no image: the reports must list packages of each of these files.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import yaml

BLOCKING = {"HIGH", "CRITICAL"}
# There is a new database every six hours.
DATABASE_AGE = timedelta(days=7)
# Somebody has to review each exception once a year.
EXCEPTION_AGE = timedelta(days=366)
KINDS = {"os-pkgs", "lang-pkgs"}
INTERPRETER = "bitnami"  # trivy's type of the entry that interpreter.py wrote


class UnknownError(Exception):
    """The scan is not valid."""


class Finding(NamedTuple):
    kind: str
    id: str
    severity: str
    where: str
    what: str
    remedy: str
    blocks: bool = True


def findings_of(report: dict[str, Any]) -> Iterator[Finding]:
    for result in report.get("Results") or []:
        target = result["Target"]
        for found in result.get("Vulnerabilities") or []:
            id_, severity = found["VulnerabilityID"], found["Severity"]
            where = f"{found['PkgName']} {found['InstalledVersion']}"
            fixed = found.get("FixedVersion", "")
            remedy = f"fixed in {fixed}" if fixed else "no fix yet"
            if fixed and result.get("Class") == "os-pkgs":
                remedy += f": {found['PkgName']}={fixed} in deploy/debian-updates.txt"
            blocks = bool(fixed) and severity in BLOCKING
            title = found.get("Title", "")
            yield Finding("vulnerability", id_, severity, where, title, remedy, blocks)
        for found in result.get("Secrets") or []:
            id_, severity = found["RuleID"], found["Severity"]
            where, remedy = f"{target}:{found['StartLine']}", "take it out and revoke it"
            yield Finding("secret", id_, severity, where, found["Title"], remedy)
        for found in result.get("Misconfigurations") or []:
            id_, severity = found["ID"], found["Severity"]
            line = found.get("CauseMetadata", {}).get("StartLine")
            where = f"{target}:{line}" if line else target
            yield Finding(
                "misconfiguration", id_, severity, where, found["Title"], found["Resolution"]
            )


def packages_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    return result.get("Packages") or []


def check_coverage(reports: list[dict[str, Any]]) -> int:
    """Count the packages in the reports; raise if they have none of one kind."""
    results = [result for report in reports for result in report.get("Results") or []]
    others = [result for result in results if result.get("Type") != INTERPRETER]
    counts = {
        kind: sum(len(packages_of(result)) for result in others if result.get("Class") == kind)
        for kind in KINDS
    }
    if missing := sorted(kind for kind, count in counts.items() if not count):
        raise UnknownError(f"no report lists any package of the kind {' or '.join(missing)}")
    if any(report.get("Metadata", {}).get("OS", {}).get("EOSL") for report in reports):
        raise UnknownError("the base's release gets no security updates any more")
    return sum(counts.values())


def check_interpreter(reports: list[dict[str, Any]], control: dict[str, Any]) -> str:
    """Return the version of the image's Python; raise if nobody has judged it."""
    versions: set[str] = {
        package["Version"]
        for report in reports
        for result in report.get("Results") or []
        for package in packages_of(result)
        if (result.get("Type"), package["Name"]) == (INTERPRETER, "python")
    }
    if len(versions) != 1:
        raise UnknownError("no report lists the Python interpreter, see interpreter.py")
    if not any(result.get("Vulnerabilities") for result in control.get("Results") or []):
        raise UnknownError("the database knows no vulnerability of any Python interpreter")
    return versions.pop()


def check_database(database: dict[str, Any], now: datetime) -> datetime:
    """Return when the vulnerability database was made; raise if that is too long ago."""
    made = database.get("VulnerabilityDB", {}).get("UpdatedAt")
    if not made:
        raise UnknownError("there is no vulnerability database")
    updated = datetime.fromisoformat(made)
    if now - updated > DATABASE_AGE:
        raise UnknownError(f"the vulnerability database is of {updated:%Y-%m-%d}")
    return updated


def bad_exceptions(exceptions: dict[str, Any], today: date) -> Iterator[Finding]:
    for kind, entries in exceptions.items():
        for entry in entries or []:
            reason, until = str(entry.get("statement") or "").strip(), entry.get("expired_at")
            if not reason:
                wrong, remedy = "it has no reason", "statement: why this can wait"
            elif not isinstance(until, date):
                wrong, remedy = "it has no date", "expired_at: YYYY-MM-DD"
            elif until < today:
                wrong, remedy = f"it ended on {until}", "fix what it names, or decide anew"
            elif until - today > EXCEPTION_AGE:
                wrong, remedy = f"it lasts until {until}", "a year at most"
            else:
                continue
            yield Finding("exception", entry["id"], "-", kind, wrong, remedy)


def check_locks(reports: list[dict[str, Any]], locks: list[Path]) -> int:
    """Count the packages in the reports; raise if a lock file has none."""
    counts = {
        result["Target"]: len(packages_of(result))
        for report in reports
        for result in report.get("Results") or []
    }
    if missing := [str(lock) for lock in locks if not counts.get(str(lock))]:
        raise UnknownError(f"no report lists any package of {' or '.join(missing)}")
    return sum(counts.values())


def judge(options: argparse.Namespace, now: datetime) -> dict[str, Any]:
    reports = [read(path) for path in options.reports]
    exceptions = yaml.safe_load(options.exceptions.read_text(encoding="utf-8")) or {}
    found = [finding for report in reports for finding in findings_of(report)]
    found += bad_exceptions(exceptions, now.date())
    accepted = [
        hidden
        for report in reports
        for result in report.get("Results") or []
        for hidden in result.get("ExperimentalModifiedFindings") or []
    ]
    if options.locks:
        coverage: dict[str, Any] = {"packages": check_locks(reports, options.locks)}
    else:
        control = read(options.control)
        coverage = {
            "packages": check_coverage(reports),
            "python": check_interpreter(reports, control),
        }
    return {
        **coverage,
        "database": check_database(read(options.database), now).isoformat(),
        "accepted": len(accepted),
        "findings": [finding._asdict() for finding in found],
        "passed": not any(finding.blocks for finding in found),
    }


def read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnknownError(f"{path} can't be read: {error}") from None
    if not isinstance(document, dict):
        raise UnknownError(f"{path} is no report")
    return document


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exceptions", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--control", type=Path)
    kind.add_argument("--locks", nargs="+", type=Path)
    parser.add_argument("--reports", nargs="+", type=Path, required=True)
    options = parser.parse_args()
    try:
        verdict = judge(options, datetime.now(UTC))
    except UnknownError as error:
        print(f"NOT SCANNED: {error}. This is a failure, not a pass.", file=sys.stderr)
        return 2
    options.output.write_text(json.dumps(verdict, indent=2), encoding="utf-8")
    for found in sorted(verdict["findings"], key=lambda found: not found["blocks"]):
        mark = "BLOCKS " if found["blocks"] else "       "
        words = (found["kind"], found["id"], found["severity"], found["where"], found["what"])
        print(f"{mark}{'  '.join(words)}  ({found['remedy']})")
    stopping = sum(found["blocks"] for found in verdict["findings"])
    python = f" and Python {verdict['python']}" if "python" in verdict else ""
    print(
        f"{verdict['packages']} packages{python} looked at, database of "
        f"{verdict['database'][:10]}: {len(verdict['findings'])} findings, "
        f"{stopping} stop it, {verdict['accepted']} accepted"
    )
    return 0 if verdict["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
