"""The commands, files and links that the pages name exist, in a clone too."""

import re
import subprocess
from pathlib import Path

import pytest

from template import ROOT

LISTED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
)
PAGES = [ROOT / name for name in LISTED.stdout.split() if (ROOT / name).exists()]
# Pages that no clone keeps.
OURS = {ROOT / "README.md", ROOT / "CHANGELOG.md"}
CLONE = ROOT / "template" / "clone"
TARGET = re.compile(r"^([a-z][a-z-]*):.*## ", re.MULTILINE)
LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def is_of_a_clone(page: Path) -> bool:
    inside = page.is_relative_to(ROOT / "template")
    return page.is_relative_to(CLONE) if inside else page not in OURS


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_a_clone_does_not_speak_of_a_template() -> None:
    assert "template" not in (CLONE / "README.md").read_text().lower()


@pages
def test_targets_exist(page: Path) -> None:
    makefiles = ["Makefile"] if is_of_a_clone(page) else ["Makefile", "template/template.mk"]
    targets = {name for file in makefiles for name in TARGET.findall((ROOT / file).read_text())}
    named = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    assert set(named) - targets - {"env"} == set()


@pages
def test_links_lead_somewhere(page: Path) -> None:
    """The target file and heading exist, seen from the page's place in a clone."""
    folder = ROOT if page.is_relative_to(CLONE) else page.parent
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (folder / name) if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
        if is_of_a_clone(page):
            assert not target.resolve().is_relative_to(ROOT / "template"), link
