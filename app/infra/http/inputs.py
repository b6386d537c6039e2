"""Types for inputs whose plain type would accept values that can't be stored."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
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
