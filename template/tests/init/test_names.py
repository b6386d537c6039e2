"""Which names init refuses, and its messages."""

from pathlib import Path

import pytest

from template.init.__main__ import main
from template.init.names import spelled_like
from template.tests.init.conftest import git


class TestRefusals:
    """A bad name changes nothing. The message has the rule and a good name."""

    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            *((name, "a letter first") for name in ("Seamark", "7seas", "sea-mark", "sea_mark")),
            *((name, "a letter first") for name in ("séamark", "sea mark", "../sea", "$(id)")),
            *(("ab", "3 to 20 characters"), ("a" * 21, "3 to 20 characters and has 21")),
            *(("class", "of Python"), ("match", "of Python"), ("json", "of Python")),
            *(("order", "reserved word of Postgres"), ("template1", "reserved word of Postgres")),
            *(("nobody", "system account"), ("fastapi", "depends on"), ("worker", "a part of")),
        ],
    )
    def test_it_is_refused(
        self, clone: Path, name: str, rule: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([name]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"NAME={name} can't be used: ")
        assert rule in said
        assert "make init NAME=acmeshop" in said
        assert git(clone, "status", "--porcelain") == ""

    @pytest.mark.parametrize("name", ["zig", "b2b", "z" * 20])
    def test_the_limits_themselves_are_fine(self, clone: Path, name: str) -> None:
        assert main([name]) == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [("pier", "b2b"), ("PIER", "B2B"), ("Pier", "B2b"), ("PieR", "B2b")],
)
def test_the_new_name_takes_the_letter_case_of_the_old_one(found: str, expected: str) -> None:
    assert spelled_like(found, "b2b") == expected
