"""init removes marked lines and regions, in every comment syntax of the repository."""

from pathlib import PurePosixPath

import pytest

from template import ROOT
from template.init.__main__ import is_sample
from template.init.marks import without
from template.init.tree import Tree

# If many lines elsewhere know of a feature, nobody can remove it by hand.
MOST = 20


class TestMarks:
    @pytest.mark.parametrize(
        "line",
        [
            *("x = 1  # sample", "x: 1 # sample: why", "x; // sample", "| a | b <!-- sample --> |"),
            *("{# sample #}", "x /* sample */", "# sample"),
        ],
    )
    def test_a_line(self, line: str) -> None:
        assert without(f"a\n{line}\r\nb\n", "sample") == ("a\nb\n", 1)

    @pytest.mark.parametrize(
        "line",
        [
            *("# samples", "# a sample", "sample = 1", '"# sample"', "# sample size: 3"),
            "# begins sample",
        ],
    )
    def test_what_is_none(self, line: str) -> None:
        assert without(f"{line}\n", "sample") == (f"{line}\n", 0)

    def test_a_region_and_the_blank_line_behind_it(self) -> None:
        text = "a\n\n<!-- begin sample -->\nb\n\nc\n<!-- end sample -->\n\nd\n"
        assert without(text, "sample") == ("a\n\nd\n", 1)

    def test_a_region_of_another_word(self) -> None:
        text = "# begin template\nb\n# end template\n# sample: no\nc\n"
        assert without(text, "sample")[0] == "# begin template\nb\n# end template\nc\n"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("# begin sample\n", "has no `end sample`"),
            ("# end sample\n", "does not pair"),
            ("# begin sample\n# begin sample\n# end sample\n", "does not pair"),
        ],
    )
    def test_one_that_does_not_pair_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(Exception, match=message):
            without(text, "sample")


def marked(word: str) -> dict[PurePosixPath, int]:
    """How many places of each file of this repository carry the mark, outside template/."""
    places = {
        path: without(text, word)[1]
        for path, text in Tree.read(ROOT).texts.items()
        if not path.is_relative_to("template") and not is_sample(path)
    }
    return {path: count for path, count in places.items() if count}


class TestHere:
    """Few places outside the sample, or outside template/, know of it."""

    @pytest.mark.parametrize("word", ["sample", "template"])
    def test_few_places_are_marked(self, word: str) -> None:
        assert sum(marked(word).values()) <= MOST, marked(word)
