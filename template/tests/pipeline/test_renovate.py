"""Renovate finds every file that names a package, an image or an action, and may update it.

The patterns of renovate.json and Renovate's own are tried on our files. Renovate itself would take
300 MB of npm packages.
"""

import json
import re
import subprocess
from typing import Any

from template import ROOT

SETTINGS: dict[str, Any] = json.loads((ROOT / "renovate.json").read_text())
# Renovate's defaults, for the managers to which renovate.json gives no pattern.
DEFAULTS = {
    "dockerfile": r"(^|/)([Dd]ocker|[Cc]ontainer)file[^/]*$",
    "docker-compose": r"(^|/)(?:docker-)?compose[^/]*\.ya?ml$",
    "github-actions": r"(^|/)\.github/(?:workflows|actions)/.+\.ya?ml$",
}
# Not the port of a URL, as in @postgres:5432.
IMAGE = re.compile(r"(?<![@/])\b(?:python|postgres|redis|caddy|registry):[0-9]")
# Docs name images too, and tests try others.
EXAMPLES = re.compile(r"\.md$|(^|/)tests/|^template/")


def patterns() -> dict[str, str]:
    custom = [manager["managerFilePatterns"] for manager in SETTINGS["customManagers"]]
    own = {
        "pip-compile": SETTINGS["pip-compile"]["managerFilePatterns"],
        "kubernetes": SETTINGS["kubernetes"]["managerFilePatterns"],
        "custom.regex": [pattern for found in custom for pattern in found],
    }
    return DEFAULTS | {
        name: "|".join(pattern.strip("/") for pattern in found) for name, found in own.items()
    }


def tracked() -> list[str]:
    command = ["git", "ls-files"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def found_by(manager: str) -> set[str]:
    return {name for name in tracked() if re.search(patterns()[manager], name)}


class TestFiles:
    def test_all_managers_are_on(self) -> None:
        assert set(SETTINGS["enabledManagers"]) == set(patterns())

    def test_locks(self) -> None:
        assert found_by("pip-compile") == {
            name for name in tracked() if re.search(r"(^|/)requirements[^/]*\.txt$", name)
        }

    def test_workflows(self) -> None:
        assert found_by("github-actions") >= {
            str(path.relative_to(ROOT)) for path in ROOT.glob(".github/workflows/*")
        }

    def test_images(self) -> None:
        naming = {
            name
            for name in tracked()
            if not EXAMPLES.search(name) and IMAGE.search((ROOT / name).read_text(errors="replace"))
        }
        assert "deploy/pipeline/stage" in naming
        found = {name for manager in patterns() for name in found_by(manager)}
        assert naming - found == set()

    def test_a_custom_pattern_reads_the_image_with_and_without_a_digest(self) -> None:
        [manager] = SETTINGS["customManagers"]
        [words] = manager["matchStrings"]
        reader = re.compile(words.replace("(?<", "(?P<"))
        [file] = found_by("custom.regex")
        text = (ROOT / file).read_text()
        digest = f"sha256:{'a' * 64}"
        for pin in ("", digest):
            found = reader.search(text.replace("registry:2", f"registry:2{pin and '@'}{pin}"))
            assert found
            assert found.group("depName", "currentValue") == ("registry", "2")
            assert (found["currentDigest"] or "") == pin


class TestAge:
    """Packages wait a week. A moving tag of an image would wait for ever."""

    def test_of_packages(self) -> None:
        assert (SETTINGS["minimumReleaseAge"], SETTINGS["internalChecksFilter"]) == (
            "7 days",
            "strict",
        )

    def test_of_images(self) -> None:
        rules = [rule for rule in SETTINGS["packageRules"] if "minimumReleaseAge" in rule]
        assert [rule["matchDatasources"] for rule in rules] == [["docker"]]
        assert rules[0]["minimumReleaseAge"] is None
