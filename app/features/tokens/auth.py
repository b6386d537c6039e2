"""Who is calling: `CurrentToken`, and dependencies that ask for a scope and count the use."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.features.tokens.errors import ScopeMissing, TokenInvalid
from app.features.tokens.models import Token
from app.features.tokens.schemas import Scope
from app.features.tokens.service import authenticate
from app.infra.db import SessionDep
from app.infra.http.limits import Kind
from app.infra.lifespan import ResourcesDep

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


CurrentToken = Annotated[Token, Depends(get_current_token, scope="function")]


def require(scope: Scope, kind: Kind) -> Callable[..., Awaitable[Token]]:
    """A dependency: the caller's token has `scope`, and its limit for `kind` is not used up."""

    async def check(token: CurrentToken, resources: ResourcesDep) -> Token:
        if scope not in token.scopes:
            raise ScopeMissing(f"This needs the scope {scope}; the token has {token.scopes}.")
        await resources.limiter.hit(kind, token.id.hex)
        return token

    return check
