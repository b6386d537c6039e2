"""Input types: they accept nothing that can't be stored."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.infra.http.inputs import Amount, FutureTime, Line, UtcTime

line = TypeAdapter[str](Line)
time = TypeAdapter[datetime](UtcTime)
amount = TypeAdapter[Decimal](Amount)
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


class TestAmount:
    """An amount is answered as the column keeps it."""

    @pytest.mark.parametrize("text", ["-0", "-0.00", "0E-999999999", "-0e999999999"])
    def test_zero_has_no_sign(self, text: str) -> None:
        assert str(amount.validate_python(text)) == "0.00"
