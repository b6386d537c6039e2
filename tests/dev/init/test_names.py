"""Which names are refused, and what is said to whoever tries."""

from pathlib import Path

import pytest

from dev.init.__main__ import main
from dev.init.names import spelled_like
from tests.dev.init.conftest import git


class TestRefusals:
    """A bad name changes nothing; the message has the rule, and a name that keeps it."""

    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            *((name, "a letter first") for name in ("Seamark", "7seas", "sea-mark", "sea_mark")),
            *((name, "a letter first") for name in ("séamark", "sea mark", "../sea", "$(id)")),
            *(("ab", "3 to 20 characters"), ("a" * 21, "3 to 20 characters and has 21")),
            *(("class", "of Python"), ("match", "of Python"), ("json", "of Python")),
            *(("order", "reserved word of Postgres"), ("template1", "reserved word of Postgres")),
            *(("nobody", "system account"), ("fastapi", "depends on")),
            *((name, "in use here already") for name in ("app", "main", "conf", "title")),
        ],
    )
    def test_it_is_refused(
        self, clone: Path, name: str, rule: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([name, ""]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"NAME={name} can't be used: ")
        assert rule in said
        assert "make init NAME=acmeshop" in said
        assert git(clone, "status", "--porcelain") == ""

    def test_a_word_in_use_is_shown_where_it_stands(
        self, clone: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["image", ""])
        assert "\n  compose.yaml:2: image: DRYDOCK\n" in capsys.readouterr().err

    def test_only_a_few_places_are_shown(
        self, clone: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["hash", ""])
        assert "and 2 more" in capsys.readouterr().err

    def test_an_example_of_the_command_is_no_use(self, clone: Path) -> None:
        assert "NAME=seamark" in (clone / "README.md").read_text()
        assert main(["seamark", ""]) == 0

    @pytest.mark.parametrize("name", ["zig", "b2b", "z" * 20])
    def test_the_limits_themselves_are_fine(self, clone: Path, name: str) -> None:
        assert main([name, ""]) == 0


class TestSpelling:
    """The new name takes the letter case of the old one."""

    @pytest.mark.parametrize(
        ("found", "expected"),
        [("pier", "b2b"), ("PIER", "B2B"), ("Pier", "B2b"), ("PieR", "B2b")],
    )
    def test_it(self, found: str, expected: str) -> None:
        assert spelled_like(found, "b2b") == expected
