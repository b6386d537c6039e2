"""Input types: they accept nothing that can't be stored."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.infra.http.inputs import (
    INT_MAX,
    INT_MIN,
    Amount,
    Day,
    Flag,
    FutureTime,
    Line,
    Lines,
    QueryWhole,
    UtcTime,
    Whole,
    absent,
)

line = TypeAdapter[str](Line)
time = TypeAdapter[datetime](UtcTime)
future = TypeAdapter[datetime](FutureTime)


class TestLine:
    """One line of text is trimmed, and holds nothing that Postgres or a header refuses."""

    @given(st.text())
    def test_what_passes_can_be_stored_and_sent(self, text: str) -> None:
        try:
            kept = line.validate_python(text)
        except ValidationError:
            return
        assert kept == text.strip()
        assert kept.encode().decode() == kept
        assert not any(character < " " or character == "\x7f" for character in kept)

    @pytest.mark.parametrize(
        "character",
        [
            *("\x00", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\ud800"),
            *("\u2028", "\u200f", "\u202e", "\u2066"),
        ],
    )
    def test_control_characters_are_refused(self, character: str) -> None:
        with pytest.raises(ValidationError):
            line.validate_python(f"a{character}b")

    def test_other_scripts_are_kept_unchanged(self) -> None:
        text = "Ærø ⚓ 船 a\N{ZERO WIDTH JOINER}b\N{NO-BREAK SPACE}c"
        assert line.validate_python(f"  {text}\t") == text


class TestTimes:
    """A time has an offset, lies within two centuries, and is kept in UTC."""

    @given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
    def test_what_passes_is_the_same_time_in_utc(self, given_time: datetime) -> None:
        try:
            kept = time.validate_python(given_time)
        except ValidationError:
            return
        assert kept.timestamp() == given_time.timestamp()
        assert kept.utcoffset() == timedelta(0)
        # Far enough from both ends that a zone or a sum can't overflow.
        assert kept + timedelta(days=365) > kept - timedelta(days=365)

    @pytest.mark.parametrize(
        "text",
        [
            *("2030-06-01T12:00:00", "2030-06-01", "soon", ""),
            *("1999-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"),
        ],
    )
    def test_what_is_naive_or_far_away_is_refused(self, text: str) -> None:
        with pytest.raises(ValidationError):
            time.validate_python(text)

    def test_an_expiry_lies_in_the_future(self) -> None:
        now = datetime.now(UTC)
        later = now + timedelta(minutes=1)
        assert future.validate_python(later) == later
        for past in (now, now - timedelta(seconds=1), now.astimezone(timezone(timedelta(hours=9)))):
            with pytest.raises(ValidationError, match="must lie in the future"):
                future.validate_python(past)


def kept(kind: Any, value: object) -> object:
    """What is kept of a value; None if it is refused."""
    try:
        return TypeAdapter[object](kind).validate_python(value)
    except ValidationError:
        return None


class TestOthers:
    """Each type takes what its column can hold, in one form, and nothing that looks like it."""

    def test_lines(self) -> None:
        assert kept(Lines, " a\r\n\tb \n") == "a\n\tb"
        for character in ("\x00", "\x1b", "\x9b", "\u202e", "\u2028", "\ud800", "\r"):
            assert kept(Lines, f"a{character}b") is None

    @pytest.mark.parametrize("value", [1, 10**6, INT_MIN, INT_MAX])
    def test_a_whole_number(self, value: int) -> None:
        assert kept(Whole, value) == value
        assert kept(QueryWhole, str(value)) == value

    @pytest.mark.parametrize("value", [INT_MIN - 1, INT_MAX + 1, "1", 1.5, True, None, "9" * 5000])
    def test_no_whole_number(self, value: object) -> None:
        assert kept(Whole, value) is None

    @pytest.mark.parametrize(
        ("value", "expected"),
        [("19.9", "19.90"), (19.9, "19.90"), (5, "5.00"), ("-0.01", "-0.01"), ("1e3", "1000.00")]
        + [(zero, "0.00") for zero in ("-0", "-0.00", "0E-999999999", "-0e999999999")],
    )
    def test_an_amount(self, value: object, expected: str) -> None:
        assert str(kept(Amount, value)) == expected
        assert Decimal(expected) == kept(Amount, expected)

    @pytest.mark.parametrize(
        "value",
        ["0.001", "10000000000", "NaN", "Infinity", "1e999999", "1e-999999", "9" * 5000, True, ""],
    )
    def test_no_amount(self, value: object) -> None:
        assert kept(Amount, value) is None

    def test_a_day(self) -> None:
        assert kept(Day, "2030-01-31") == date(2030, 1, 31)
        for value in ("2030-02-30", "0000-01-01", "2030-1-1", "2030-01-31T00:00:00", "0", 0, 0.0):
            assert kept(Day, value) is None
            assert kept(UtcTime, value) is None

    def test_a_flag(self) -> None:
        assert [kept(Flag, value) for value in (True, False)] == [True, False]
        assert [kept(Flag, value) for value in (1, 0, "yes", "true", None)] == [None] * 5

    def test_an_absent_field_is_neither_null_nor_in_the_document(self) -> None:
        class Change(BaseModel):
            name: Line = absent()

        assert Change.model_validate({}).model_fields_set == set()
        with pytest.raises(ValidationError):
            Change.model_validate({"name": None})
        assert "default" not in Change.model_json_schema()["properties"]["name"]
