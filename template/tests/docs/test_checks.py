"""CONTRIBUTING.md says what is checked where, and CI does just that."""

import re

import yaml

from template import ROOT

# Which checks the page says each run of CI makes.
WHO = {
    "every push and pull request": {".github/workflows/ci.yml", ".ci/run"},
    "every night": {".github/workflows/nightly.yml"},
}
CHECK = re.compile(r"\bmake (check[a-z-]*)")


def promised() -> dict[str, set[str]]:
    """For each file, the targets that it must call according to the table."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `make (check[a-z-]*)` \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    assert len(rows) == 3
    files: dict[str, set[str]] = {}
    for target, who in rows:
        [callers] = [files for words, files in WHO.items() if who.startswith(words)]
        for caller in callers:
            files.setdefault(caller, set()).add(target)
    return files


def called(name: str) -> set[str]:
    """The targets that a workflow's steps, or the lines of a script, call."""
    text = (ROOT / name).read_text()
    if name.endswith(".yml"):
        jobs = yaml.safe_load(text)["jobs"].values()
        text = "\n".join(step.get("run", "") for job in jobs for step in job["steps"])
    return set(CHECK.findall(re.sub(r"^\s*(#|step|echo).*$", "", text, flags=re.MULTILINE)))


def test_each_run_of_ci_makes_the_checks_of_the_table() -> None:
    for name, targets in promised().items():
        assert called(name) == targets, name


def test_the_targets_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    listed = set(re.findall(r"^(check[a-z-]*):.*## ", makefile, re.MULTILINE))
    assert listed == set().union(*promised().values())
