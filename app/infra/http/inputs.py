"""Types for inputs whose plain type would accept values that can't be stored."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_wrap_validator_function

from app.printable import CONTROLS

# Far from the limits of datetime, so that time zones and sums can't overflow.
FIRST_YEAR, LAST_YEAR = 2000, 2199
INT_MIN, INT_MAX = -(2**31), 2**31 - 1  # of Postgres' integer

# pydantic would take a number as seconds since 1970.
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(rf"{_DAY.pattern}[Tt ].*", re.ASCII)


def _one_line(value: str) -> str:
    if CONTROLS.search(value):
        raise ValueError("must not contain control characters")
    return value


def _lines(value: str) -> str:
    kept = value.replace("\r\n", "\n")  # what browsers send
    if CONTROLS.search(kept.replace("\n", "").replace("\t", "")):
        raise ValueError("must not contain control characters, except tabs and line breaks")
    return kept


def _two_places(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01")) + 0  # as the column keeps it, which has no -0


def _written_day(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise ValueError("must be a date, such as 2026-12-31")


def _written_time(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _TIME.fullmatch(value)):
        return value
    raise ValueError("must be a time with its offset, such as 2026-12-31T23:59:59Z")


def _in_range(value: datetime) -> datetime:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    return value.astimezone(UTC)


def _in_the_future(value: datetime) -> datetime:
    if value <= datetime.now(UTC):
        raise ValueError("must lie in the future")
    return value


@dataclass(frozen=True)
class Matching:
    """Text that matches a pattern. Its error says in words what the text must be.

    pydantic's own constraint shows the client the regular expression.
    """

    pattern: str
    says: str

    def __get_pydantic_core_schema__(
        self, source: type[str], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # A cast, because the schema of a string with constraints is one of many types.
        inner = cast("CoreSchema", {**handler(source), "pattern": self.pattern})
        return no_info_wrap_validator_function(self._check, inner)

    def _check(self, value: object, validate: ValidatorFunctionWrapHandler) -> object:
        try:
            return validate(value)
        except ValidationError as error:
            if error.errors()[0]["type"] == "string_pattern_mismatch":
                raise ValueError(self.says) from None
            raise


# A description says with "must" what JSON Schema can't express. tests/test_contract.py reads it.

# One line of text, trimmed.
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(_one_line),
    Field(description="Trimmed; must not contain control characters."),
]

# Text of several lines, trimmed.
Lines = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(_lines),
    Field(description="Trimmed; must not contain control characters except tabs and line breaks."),
]

# Numbers that Postgres' integer can hold. A URL holds them as text, a body must not.
QueryWhole = Annotated[int, Field(ge=INT_MIN, le=INT_MAX)]
Whole = Annotated[QueryWhole, Field(strict=True)]

# true or false; pydantic alone would take "yes" and 1 too.
Flag = Annotated[bool, Field(strict=True)]

# An exact amount, for Numeric(12, 2). Answers hold it as text, since JSON's numbers are not exact.
Amount = Annotated[
    Decimal,
    Field(
        max_digits=12,
        decimal_places=2,
        description="Must have at most 2 digits after the point, and 10 before it.",
        examples=["19.90"],
    ),
    AfterValidator(_two_places),
]

Day = Annotated[date, BeforeValidator(_written_day)]

# A time with its offset, converted to UTC.
UtcTime = Annotated[
    AwareDatetime,
    BeforeValidator(_written_time),
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


def absent() -> Any:
    """The default of a field of a PATCH that may be left out but must not be null.

    No client can send the default: `model_fields_set` says which fields were sent.
    """
    return Field(default=None, json_schema_extra=_no_default)


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default")
