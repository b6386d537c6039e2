"""Reading a page as a person does who follows it: what to write, to change, to run, to find.

Four kinds of fenced blocks count, each by the words around it that a reader goes by too:

- a file: after a line that is its name and a colon, such as `app/x.py`:
- a change: marked diff, with the file's name in its first line
- commands: marked sh
- what a file holds: after a line that is a pattern of names and ends in "holds:"
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
    """One hunk. Its context says where, as it does to a person; the path may be a pattern."""

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
    """What a file that was generated must hold."""

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
    """The steps in the order of the page. A block of another kind is for reading only."""
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
