"""docs/asvs.md: it covers each chapter of the standard, and the tests that it names exist."""

import ast
import re

import pytest

from tests.live import ROOT

PAGE = (ROOT / "docs" / "asvs.md").read_text()
ROWS = [
    [cell.strip() for cell in line.split("|")[1:5]]
    for line in PAGE.splitlines()
    if re.match(r"\| \d", line)
]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
CHAPTERS = range(1, 18)


class TestPage:
    """Each row has an answer, and each answer its evidence."""

    def test_each_chapter_is_there(self) -> None:
        found = {int(number) for row in ROWS for number in re.findall(r"\b(\d+)(?=[., ])", row[0])}
        assert set(CHAPTERS) <= found

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
    def test_a_row(self, row: list[str]) -> None:
        _, answer, because, _ = row
        assert answer in {"yes", "no", "none"}
        if answer == "yes":
            assert TEST.search(because) or re.search(r"\.md\b|\.env\.example", because)
        if answer == "no":
            assert because

    @pytest.mark.parametrize(("file", "name"), sorted(set(TEST.findall(PAGE))))
    def test_a_test_that_it_names_exists(self, file: str, name: str) -> None:
        module = ast.parse((ROOT / file).read_text())
        assert name in [node.name for node in module.body if isinstance(node, ast.ClassDef)]
