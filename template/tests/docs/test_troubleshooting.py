"""docs/troubleshooting.md quotes our messages word for word."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from template import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
OWN, _, _FOREIGN = PAGE.partition("## Other programs")
QUOTED = re.findall(r"^\| `([^`]+)` \|", OWN, re.MULTILINE)

# Variables and commands that a shell or make replaces.
EXPANSION = re.compile(r"\$\$?\{[^{}]*\}|\$\$?\([^()]*\)|\$\w+")


def python_texts(path: Path) -> Iterator[str]:
    """The strings of a module, with … for each value of an f-string."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@cache
def texts() -> list[str]:
    tops = ("app", "deploy", "dev", "migrations")
    modules = [path for top in tops for path in (ROOT / top).rglob("*.py")]
    scripts = [ROOT / "Makefile", *(ROOT / "deploy").rglob("*"), ROOT / "dev/within"]
    found = [text for path in modules for text in python_texts(path)]
    found += [EXPANSION.sub("…", path.read_text()) for path in scripts if path.is_file()]
    return found


def is_said(message: str) -> bool:
    return any(message in text for text in texts())


class TestQuotes:
    """Each quoted message of ours is in the sources."""

    def test_there_are_some(self) -> None:
        assert len(QUOTED) == OWN.count("\n| `") > 30

    @pytest.mark.parametrize("message", QUOTED)
    def test_it_is_said(self, message: str) -> None:
        assert is_said(message)

    def test_a_message_that_nobody_says_is_noticed(self) -> None:
        assert not is_said("The moon is in the wrong phase.")
        assert not is_said("Drydock can't start: … setting(s) need a look.")
