"""Types for inputs whose plain type would accept values that can't be stored."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from app.printable import CONTROLS

# Far from the limits of datetime, so that time zones and sums can't overflow.
FIRST_YEAR, LAST_YEAR = 2000, 2199


def _one_line(value: str) -> str:
    if CONTROLS.search(value):
        raise ValueError("must not contain control characters")
    return value


def _in_range(value: datetime) -> datetime:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    return value.astimezone(UTC)


def _in_the_future(value: datetime) -> datetime:
    if value <= datetime.now(UTC):
        raise ValueError("must lie in the future")
    return value


# A description says with "must" what JSON Schema can't express. tests/test_contract.py reads it.

# One line of text, trimmed.
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(_one_line),
    Field(description="Trimmed; must not contain control characters."),
]

# A time with its offset, converted to UTC.
UtcTime = Annotated[
    AwareDatetime,
    AfterValidator(_in_range),
    Field(description=f"Must lie between the years {FIRST_YEAR} and {LAST_YEAR}."),
]
FutureTime = Annotated[
    UtcTime,
    AfterValidator(_in_the_future),
    Field(
        description=f"Must lie in the future, and before the year {LAST_YEAR + 1}.",
        examples=["2099-12-31T23:59:59Z"],
    ),
]
