"""README.md and the pages: commands, files and links that they name exist."""

import re
from pathlib import Path

import pytest

from template import ROOT

README = (ROOT / "README.md").read_text()
PAGES = sorted(
    path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")) if path.is_file()
)
TARGET = re.compile(r"^([a-z][a-z-]*):.*## ", re.MULTILINE)
# Not an image: whoever takes the picture has to look at it anyway.
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)]+)\)")


def targets() -> set[str]:
    return set(TARGET.findall((ROOT / "Makefile").read_text()))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


class TestTargets:
    """The README's table and `make help` tell the same targets."""

    def test_each_is_in_the_table(self) -> None:
        table = README.partition("## What you can type")[2].partition("\n## ")[0]
        rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `make")]
        told = {name for row in rows for name in re.findall(r"`make ([a-z-]+)", row)}
        assert told == targets() - {"help"}

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_no_page_names_one_that_is_not(self, page: Path) -> None:
        named = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)
        assert set(named) - targets() - {"env"} == set()


class TestLinks:
    """A link to a file of this repository leads to it, and to a heading that is there."""

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_they_lead_somewhere(self, page: Path) -> None:
        for link in LINK.findall(page.read_text()):
            if "://" in link:
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name) if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
