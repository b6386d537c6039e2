"""What clients send and receive about links, clicks and imports."""

import re
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
)

from app.features.links.models import ImportStatus
from app.infra.http.inputs import FutureTime, Line
from app.infra.http.pages import Page

LONGEST_URL = 2048  # what every browser and proxy takes

# First segments of the service's own paths, which a slug would hide or be hidden by. A test
# compares this with the routes.
RESERVED = frozenset({"api", "docs", "health", "metrics", "page", "static"})

SLUG = r"^[A-Za-z0-9][A-Za-z0-9_-]{1,63}$"
SlugText = Annotated[str, StringConstraints(pattern=SLUG)]

_http_url = TypeAdapter(AnyHttpUrl)
# What RFC 3986 leaves out and what Location would carry differently from what was given.
_NOT_IN_URLS = re.compile(r'[\x00-\x20\x7f-\x9f"<>\\`]')


def _not_reserved(value: str) -> str:
    if value.lower() in RESERVED:
        raise ValueError("is reserved for the service itself; choose another")
    return value


def _web_address(value: str) -> str:
    """Keep an ASCII URL to the letter; write an international one in its ASCII form."""
    if _NOT_IN_URLS.search(value):
        raise ValueError("must not contain spaces, control characters, quotes, <, > or backslashes")
    parsed = _http_url.validate_python(value)  # its own message names what is wrong
    if parsed.username or parsed.password or "@" in urlsplit(value).netloc:
        raise ValueError("must not contain credentials: everyone who follows the link sees them")
    kept = value if value.isascii() else str(parsed)
    if len(kept) > LONGEST_URL:
        raise ValueError(f"is longer than {LONGEST_URL} characters in its ASCII form")
    return kept


def _no_default(schema: dict[str, Any]) -> None:
    """A default that only the code knows is none in the document."""
    schema.pop("default")


Slug = Annotated[
    SlugText,
    AfterValidator(_not_reserved),
    Field(description=f"Must be none of {', '.join(sorted(RESERVED))}."),
]
WebAddress = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_URL, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://"),
    AfterValidator(_web_address),
    Field(
        description="Must be http or https, with a host and without credentials.",
        examples=["https://example.com/"],
    ),
]
Title = Annotated[Line, Field(max_length=200)]


class LinkCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: WebAddress
    slug: Slug | None = None
    title: Title | None = None
    expires_at: FutureTime | None = None


class LinkUpdate(BaseModel):
    """What is given changes; null removes a title or an expiry; the rest stays."""

    model_config = ConfigDict(extra="forbid")

    # Not nullable, for a link leads somewhere: the default stands for "not given", see the set
    # of given fields, and no client can send it.
    url: WebAddress = Field(default="", json_schema_extra=_no_default)
    title: Title | None = None
    expires_at: FutureTime | None = None


class LinkRead(BaseModel):
    slug: str
    url: str
    title: str | None
    short_url: str
    created_at: datetime
    expires_at: datetime | None
    clicks: int


class LinkPage(Page[LinkRead]):
    """Links, newest first."""


class ClickBucket(BaseModel):
    start: datetime
    clicks: int


class ClickSeries(BaseModel):
    """`total` counts the clicks within the series; hours and days are UTC's."""

    total: int
    series: list[ClickBucket]


class RowFault(BaseModel):
    """`row` is the line in the file, as a spreadsheet numbers it: the header is row 1."""

    model_config = ConfigDict(from_attributes=True)

    row: int
    code: str
    detail: str


class ImportProgress(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    status: ImportStatus
    total: int
    done: int
    failed: int


class ImportRead(ImportProgress):
    errors: list[RowFault]
    next_errors_after: Annotated[
        int | None, Field(description="Pass it as `errors_after` for the next errors.")
    ]
