"""What clients send and receive about tokens."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.infra.http.inputs import FutureTime, Line
from app.infra.http.pages import Page


class Scope(StrEnum):
    """What a token allows. A feature that needs another one adds it here."""

    LINKS_READ = "links:read"  # sample
    LINKS_WRITE = "links:write"  # sample
    TOKENS_WRITE = "tokens:write"


class TokenCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[Line, Field(min_length=1, max_length=100)]
    # One may be named twice, and counts once.
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=2 * len(Scope))]
    expires_at: FutureTime | None = None

    @field_validator("scopes")
    @classmethod
    def drop_repeated(cls, value: list[Scope]) -> list[Scope]:
        return sorted(set(value))


class TokenRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    # Not Scope: a scope that this version no longer knows must not hide the token that holds it.
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokenCreated(TokenRead):
    """The only answer that ever holds the token itself."""

    token: str

    @classmethod
    def of(cls, read: TokenRead, token: str) -> Self:
        return cls(**read.model_dump(), token=token)


class TokenPage(Page[TokenRead]):
    """Tokens, newest first."""
