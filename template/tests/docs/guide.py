"""Reads the steps of a page: files to write, changes, commands, and text to find.

Four kinds of fenced blocks are steps:

- a file, after a line with its name and a colon, such as `app/x.py`:
- a change, marked diff, with the file's name in its first line
- commands, marked sh
- text that a generated file contains, after a line with a pattern of names and "holds:"
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?P<lead>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
NAME = re.compile(r"`([^`]+)`( holds)?:")


@dataclass(frozen=True)
class NewFile:
    path: str
    text: str

    def follow(self, root: Path) -> None:
        place = root / self.path
        assert not place.exists(), f"{self.path} is there already"
        place.write_text(self.text)


@dataclass(frozen=True)
class Change:
    """One hunk of a diff. Its context is its place. The path may be a pattern."""

    path: str
    old: str
    new: str

    def follow(self, root: Path) -> None:
        [place] = root.glob(self.path)
        text = place.read_text()
        assert text.count(self.old) == 1, f"{self.path} does not hold once:\n{self.old}"
        place.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Holding:
    """Text that a generated file must contain."""

    pattern: str
    text: str

    def follow(self, root: Path) -> None:
        [found] = root.glob(self.pattern)
        assert self.text in found.read_text(), f"{found.name} does not hold:\n{self.text}"


@dataclass(frozen=True)
class Commands:
    """Lines for one shell."""

    text: str


Step = NewFile | Change | Holding | Commands


def steps_of(page: str) -> Iterator[Step]:
    """The steps of the page in order. Blocks of other kinds are not steps."""
    for block in BLOCK.finditer(page):
        body, name = block["body"], NAME.fullmatch(block["lead"])
        if block["kind"] == "sh":
            yield Commands(body)
        elif block["kind"] == "diff":
            yield _change(body)
        elif name is not None:
            yield Holding(name[1], body) if name[2] else NewFile(name[1], body)


def _change(body: str) -> Change:
    head, *lines = body.splitlines(keepends=True)
    return Change(
        path=head.removeprefix("--- ").strip(),
        old="".join(line[1:] for line in lines if not line.startswith("+")),
        new="".join(line[1:] for line in lines if not line.startswith("-")),
    )
