"""What clients send and receive about links, clicks and imports."""

import re
from datetime import datetime
from typing import Annotated
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
    ValidationError,
)

from app.features.links.models import ImportStatus
from app.infra.http.inputs import FutureTime, Line, Matching, absent
from app.infra.http.pages import Page

LONGEST_URL = 2048  # what every browser and proxy takes

# The first segments of the service's own paths: no link can have them as its slug. A test compares
# this with the routes.
RESERVED = frozenset({"api", "docs", "health", "metrics", "page", "static"})

SLUG = r"^[A-Za-z0-9][A-Za-z0-9_-]{1,63}$"
SlugText = Annotated[
    str,
    Matching(SLUG, "must be 2 to 64 letters, digits, - and _, and begin with a letter or digit"),
]

_http_url = TypeAdapter(AnyHttpUrl)
# Characters that RFC 3986 excludes, or that a Location header would not carry unchanged.
_NOT_IN_URLS = re.compile(r'[\x00-\x20\x7f-\x9f"<>\\`]')


def _not_reserved(value: str) -> str:
    if value.lower() in RESERVED:
        raise ValueError("is reserved for the service itself; choose another")
    return value


def _web_address(value: str) -> str:
    """Keep an ASCII URL unchanged, and convert an international one to its ASCII form."""
    if _NOT_IN_URLS.search(value):
        raise ValueError("must not contain spaces, control characters, quotes, <, > or backslashes")
    try:
        parsed = _http_url.validate_python(value)
    except ValidationError as error:
        # pydantic would put its whole report into the message.
        raise ValueError(f"must be a URL: {error.errors()[0]['ctx']['error']}") from None
    if parsed.username or parsed.password or "@" in urlsplit(value).netloc:
        raise ValueError("must not contain credentials: everyone who follows the link sees them")
    _check_host(value, str(parsed.host))
    kept = value if value.isascii() else str(parsed)
    if len(kept) > LONGEST_URL:
        raise ValueError(f"is longer than {LONGEST_URL} characters in its ASCII form")
    return kept


def _check_host(value: str, host: str) -> None:
    """Refuse a host that clients read differently, such as 0x7f.1 or example%2ecom.

    `host` is as browsers read it. An international one is stored in this form.
    """
    if value.isascii() and urlsplit(value).hostname != host.strip("[]"):
        raise ValueError(f"must have the host in the form that all clients read alike: {host}")


Slug = Annotated[
    SlugText,
    AfterValidator(_not_reserved),
    Field(description=f"Must be none of {', '.join(sorted(RESERVED))}."),
]
WebAddress = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_URL),
    Matching(r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#]", "must begin with https:// or http:// and a host"),
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
    """The given fields change, the others stay. null removes a title or an expiry."""

    model_config = ConfigDict(extra="forbid")

    url: WebAddress = absent()
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
    """`total` is the sum of the series. Hours and days are in UTC."""

    total: int
    series: list[ClickBucket]


class RowFault(BaseModel):
    """`row` is the line of the file that the row begins in: the header is line 1."""

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
    failed: Annotated[int, Field(description="Rows that became no link.")]
    failure: Annotated[
        str | None, Field(description="Why the import as a whole has failed, if it has.")
    ]


class ImportRead(ImportProgress):
    errors: list[RowFault]
    next_errors_after: Annotated[
        int | None, Field(description="Pass it as `errors_after` for the next errors.")
    ]
