"""Who is calling: `CurrentToken`, and dependencies that ask for a scope and count the use."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.features.tokens.errors import ScopeMissing, TokenInvalid
from app.features.tokens.models import Token
from app.features.tokens.schemas import Scope
from app.features.tokens.service import authenticate
from app.infra.db import SessionDep, transaction
from app.infra.http.limits import Kind
from app.infra.lifespan import Resources, ResourcesDep

bearer = HTTPBearer(auto_error=False, description="`drydock_<id>_<secret>`")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def get_current_token(
    request: Request, session: SessionDep, resources: ResourcesDep, credentials: Credentials
) -> Token:
    """Only failures are counted by address: a valid token is never locked out by a neighbour."""
    try:
        return await authenticate(session, text=credentials.credentials if credentials else None)
    except TokenInvalid:
        await resources.limiter.hit("login", request.client.host if request.client else "-")
        raise


async def _get_token_early(
    request: Request, resources: ResourcesDep, credentials: Credentials
) -> Token:
    async with transaction(resources.sessions) as session:
        return await get_current_token(request, session, resources, credentials)


CurrentToken = Annotated[Token, Depends(get_current_token, scope="function")]


# In a transaction of its own, over before the handler's begins.
EarlyToken = Annotated[Token, Depends(_get_token_early)]


def require(scope: Scope, kind: Kind) -> Callable[..., Awaitable[Token]]:
    """A dependency: the caller's token has `scope`, and its limit for `kind` is not used up."""

    async def check(token: CurrentToken, resources: ResourcesDep) -> Token:
        return await _check(token, resources, scope, kind)

    return check


def require_before_body(scope: Scope, kind: Kind) -> Callable[..., Awaitable[Token]]:
    """As `require`, for handlers that read a large body themselves.

    A stranger's body is not read at all, and no connection is held while a slow one arrives.
    """

    async def check(token: EarlyToken, resources: ResourcesDep) -> Token:
        return await _check(token, resources, scope, kind)

    return check


async def _check(token: Token, resources: Resources, scope: Scope, kind: Kind) -> Token:
    if scope not in token.scopes:
        raise ScopeMissing(f"This needs the scope {scope}; the token has {token.scopes}.")
    await resources.limiter.hit(kind, token.id.hex)
    return token
