"""Text of strangers is safe to print, and no longer than it may be."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ValidationFailed
from app.printable import escape_controls, printable

BIDI = [*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]
SEPARATORS = ["\u2028", "\u2029"]


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"} or character in [*BIDI, *SEPARATORS]


class TestControls:
    """Every control character is escaped. All other text stays as it is."""

    @pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
    def test_c0_and_c1(self, code: int) -> None:
        escaped = escape_controls(f"a{chr(code)}b")
        assert escaped.isascii()
        assert escaped.isprintable()

    @pytest.mark.parametrize("character", [*BIDI, *SEPARATORS, "\ud800"])
    def test_others_that_change_how_text_is_shown(self, character: str) -> None:
        assert escape_controls(character) == f"\\u{ord(character):04x}"

    @given(st.text())
    def test_no_other_character_is_changed(self, text: str) -> None:
        kept = "".join(one for one in text if not _is_control(one))
        assert escape_controls(kept) == kept


class TestLength:
    """The bound is in bytes, and holds after the escaping."""

    @given(st.text(), st.integers(min_value=3, max_value=40))
    def test_it_holds_for_any_text(self, text: str, most: int) -> None:
        shown = printable(text, most=most)
        assert len(shown.encode()) <= most
        assert shown == escape_controls(text) or shown.endswith("…")

    @pytest.mark.parametrize("character", ["a", "é", "船", "⚓", "\x1b", "\u202e"])
    def test_a_long_text_is_cut(self, character: str) -> None:
        assert 900 < len(printable(character * 70_000, most=1000).encode()) <= 1000


class TestErrors:
    """What an error quotes of the client's input can neither steer a terminal nor be endless."""

    def test_it(self) -> None:
        error = ValidationFailed(
            "no \x9b2J", errors=[{"field": "body." + "a" * 70_000, "detail": "bad \x1b]52"}]
        )
        (fault,) = error.errors
        assert error.detail == "no \\x9b2J"
        assert fault["detail"] == "bad \\x1b]52"
        assert len(fault["field"]) < 300
