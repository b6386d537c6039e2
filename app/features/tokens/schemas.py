"""What clients send and receive about tokens."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from app.features.tokens.scopes import Scope, declared_scopes
from app.infra.http.inputs import FutureTime, Line
from app.infra.http.pages import Page


def _known(value: str) -> Scope:
    scope = Scope(value)
    if scope not in declared_scopes():
        raise ValueError(f"is no scope: choose from {', '.join(sorted(declared_scopes()))}")
    return scope


def _list_scopes(schema: dict[str, Any]) -> None:
    """Runs when the OpenAPI document is made. All features have declared their scopes by then."""
    schema["enum"] = sorted(declared_scopes())


KnownScope = Annotated[str, AfterValidator(_known), Field(json_schema_extra=_list_scopes)]


class TokenCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[Line, Field(min_length=1, max_length=100)]
    # A scope may be named twice, and counts once. Nobody has more than a hundred.
    scopes: Annotated[list[KnownScope], Field(min_length=1, max_length=100)]
    # None: when the token that makes it expires.
    expires_at: FutureTime | None = None

    @field_validator("scopes")
    @classmethod
    def drop_repeated(cls, value: list[str]) -> list[str]:
        return sorted(set(value))


class TokenRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    # Not KnownScope: a token with a scope that this version does not know must stay in the list.
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    created_by: Annotated[UUID | None, Field(description="The token that made it, over the API.")]


class TokenCreated(TokenRead):
    """The only answer that ever holds the token itself."""

    token: str

    @classmethod
    def of(cls, read: TokenRead, token: str) -> Self:
        return cls(**read.model_dump(), token=token)


class TokenPage(Page[TokenRead]):
    """Tokens, newest first."""
