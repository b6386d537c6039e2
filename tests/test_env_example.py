""".env.example: it explains each setting that exists."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.registry import SETTINGS

EXAMPLE = Path(__file__).parent.parent / ".env.example"
OTHERS = "Not read by the service:"  # heads the variables of compose and dev/
VARIABLE = re.compile(r"(# )?([A-Z][A-Z0-9_]*)=(.*)")

# `make dev` chooses these, since another clone may run on the same machine.
CHOSEN_BY_DEV = {"METRICS_PORT", "PUBLIC_URL"}

FIELDS = {
    name.upper(): field
    for kind in (Settings.model_fields, *(kind.model_fields for kind in SETTINGS))
    for name, field in kind.items()
}


def paragraphs(*, others: bool) -> list[list[str]]:
    """The blocks of lines between blank lines, of the one part or of the other."""
    read, _, not_read = EXAMPLE.read_text().partition(OTHERS)
    return [block.splitlines() for block in (not_read if others else read).split("\n\n")]


def variables(*, others: bool = False) -> list[tuple[str, str, bool]]:
    """Each variable as it stands there: its name, its value, and whether it is commented out."""
    lines = [line for block in paragraphs(others=others) for line in block]
    found = [match for line in lines if (match := VARIABLE.fullmatch(line))]
    return [(match[2], match[3], match[1] is not None) for match in found]


class TestExample:
    """.env.example explains every setting, and no other."""

    def test_names_each_setting_once_and_no_other(self) -> None:
        assert sorted(name for name, _, _ in variables()) == sorted(FIELDS)

    def test_what_the_service_does_not_read_is_no_setting(self) -> None:
        assert not {name for name, _, _ in variables(others=True)} & set(FIELDS)

    def test_prose_stands_above_each(self) -> None:
        for block in [*paragraphs(others=False), *paragraphs(others=True)]:
            if any(VARIABLE.fullmatch(line) for line in block):
                assert re.match(r"# .+", block[0]), block
                assert not VARIABLE.fullmatch(block[0]), block

    def test_what_is_not_commented_out_is_the_default(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        required: dict[str, Any] = {
            "database_url": "postgresql://db/drydock",
            "redis_url": "redis://redis/0",
        }
        defaults = [Settings(**required), *(kind() for kind in SETTINGS)]
        for name, value, commented in variables():
            if not commented:
                monkeypatch.setenv(name, value)
        assert [Settings(**required), *(kind() for kind in SETTINGS)] == defaults

    def test_what_has_no_default_is_commented_out(self) -> None:
        commented = {name for name, _, is_commented in variables() if is_commented}
        assert (
            commented
            == {
                name
                for name, field in FIELDS.items()
                if field.is_required() or field.default is None
            }
            | CHOSEN_BY_DEV
        )
