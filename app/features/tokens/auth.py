"""Authentication: dependencies that require a token with a scope, and the visitor of a page.

Signing in and out are in `browser`.
"""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.contextvars import bind_contextvars

from app.config import Settings
from app.features.tokens.errors import ScopeMissing, TokenInvalid
from app.features.tokens.models import Token
from app.features.tokens.scopes import Scope
from app.features.tokens.service import authenticate, id_in
from app.infra.audit import record
from app.infra.db import SessionDep, transaction
from app.infra.http.limits import Kind
from app.infra.lifespan import Resources

bearer = HTTPBearer(auto_error=False, description="`drydock_<id>_<secret>`")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


@dataclass(frozen=True)
class Authenticated:
    """A dependency that returns the caller's token and counts one use against its rate limit.

    The token must be valid and have `scope`, and those in `also`; `kind` is the limit that is
    counted. The scopes must cover what the answer holds: a change that answers with the whole
    object needs the scope to read it, too. From then on the token's id is in every log line of the
    request. Raises `TokenInvalid`, `ScopeMissing` and
    `RateLimited`. There are three ways to use it:

    - `Depends(Authenticated(...), scope="function")`, for most endpoints of the API: checks the
      token of the Authorization header in the handler's transaction.
    - `Depends(Authenticated(...).before_body)`, for handlers that read a large body themselves:
      checks the same token in a transaction of its own, which ends before the body is read. No
      connection is held while a slow body arrives.
    - `Depends(Authenticated(...).visitor)`, for pages: checks the token of the browser's cookie, in
      a transaction of its own, too.
    """

    scope: Scope
    kind: Kind
    also: tuple[Scope, ...] = ()

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return (self.scope, *self.also)

    async def __call__(
        self, request: Request, session: SessionDep, credentials: Credentials
    ) -> Token:
        return await self._admit(request, await _identify(request, session, credentials))

    async def before_body(self, request: Request, credentials: Credentials) -> Token:
        resources: Resources = request.state.resources
        async with transaction(resources.sessions) as session:
            token = await _identify(request, session, credentials)
        return await self._admit(request, token)

    async def visitor(self, request: Request) -> Token:
        token = (await visit_of(request)).token
        if token is None:
            raise TokenInvalid("Sign in with a token first. Perhaps yours was revoked, or expired.")
        return await self._admit(request, token)

    async def _admit(self, request: Request, token: Token) -> Token:
        for scope in self.scopes:
            if scope not in token.scopes:
                await record(request, "scope_refused", actor=token.id, subject=scope)
                raise ScopeMissing(f"This needs the scope {scope}; the token has {token.scopes}.")
        resources: Resources = request.state.resources
        await resources.limiter.hit(self.kind, token.id.hex)
        return token


async def _identify(
    request: Request, session: AsyncSession, credentials: HTTPAuthorizationCredentials | None
) -> Token:
    return await identify(request, session, credentials.credentials if credentials else None)


async def identify(request: Request, session: AsyncSession, text: str | None) -> Token:
    """The valid token that `text` is. Raises `TokenInvalid`, and `RateLimited` for guessing.

    Only failures count for the limit of an address. So clients behind the same address can't lock
    out a valid token.
    """
    try:
        token = await authenticate(session, text=text)
    except TokenInvalid:
        resources: Resources = request.state.resources
        if text is not None:
            await record(request, "token_refused", subject=id_in(text))
        await resources.limiter.hit("login", request.client.host if request.client else "-")
        raise
    bind_contextvars(token_id=str(token.id))
    return token


async def caller_of(request: Request) -> Token | None:
    """The valid token of the Authorization header, if any: for answers that tell strangers less.

    Counts one use against the token's rate limit. Raises `RateLimited`.
    """
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    resources: Resources = request.state.resources
    try:
        async with transaction(resources.sessions) as session:
            token = await identify(request, session, text.strip())
    except TokenInvalid:
        return None
    await resources.limiter.hit("read", token.id.hex)
    return token


@dataclass(frozen=True)
class Visit:
    """The visitor of a page. `invalid`: the browser sent a token that is no longer valid."""

    token: Token | None = None
    invalid: bool = False


async def visit_of(request: Request) -> Visit:
    """The visitor of a page, looked up once for each request. Raises `RateLimited`."""
    if not hasattr(request.state, "visit"):
        request.state.visit = await _find_visit(request)
    visit: Visit = request.state.visit
    return visit


def known_visit(request: Request) -> Visit:
    """The visitor that `visit_of` has found; nobody if it has not been called."""
    visit: Visit = getattr(request.state, "visit", Visit())
    return visit


async def _find_visit(request: Request) -> Visit:
    resources: Resources = request.state.resources
    text = request.cookies.get(cookie_name(resources.settings))
    if text is None:
        return Visit()
    try:
        async with transaction(resources.sessions) as session:
            return Visit(token=await identify(request, session, text))
    except TokenInvalid:
        return Visit(invalid=True)


def cookie_name(settings: Settings) -> str:
    """The name of the cookie that holds a browser's token.

    With https it begins with `__Host-`: browsers accept such a cookie from this host alone, over
    TLS. Without https the port is in it, since browsers share cookies between all ports of a host,
    and two clones may run on one machine.
    """
    parts = urlsplit(settings.public_url)
    return "__Host-drydock" if parts.scheme == "https" else f"drydock-{parts.port or 80}"
