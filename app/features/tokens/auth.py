"""Authentication: dependencies that require a token with a scope, and the visitor of a page.

Signing in and out are in `browser`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from structlog.contextvars import bind_contextvars

from app.config import Settings
from app.errors import RateLimited
from app.features.tokens.errors import ScopeMissing, TokenInvalid
from app.features.tokens.known import Caller, known_tokens
from app.features.tokens.scopes import Scope
from app.features.tokens.service import id_in
from app.infra.audit import record
from app.infra.http.limits import Kind
from app.infra.http.peers import client_network
from app.infra.lifespan import Resources
from app.infra.page.render import PREFIX


class Authenticated(SecurityBase):
    """A dependency that returns the caller and counts one use against its rate limit.

    The caller's token must be valid and have `scope`; `kind` is the limit that is counted. From
    then on the token's id is in every log line of the request. Raises `TokenInvalid`,
    `ScopeMissing` and `RateLimited`. No database connection is held afterwards. There are two ways
    to use it:

    `also` names more scopes that it must have. The scopes must cover what the answer holds: a
    change that answers with the whole object needs the scope to read it, too.

    - `Depends(Authenticated(...))`, for the API: checks the token of the Authorization header.
    - `Depends(Authenticated(...).visitor)`, for pages: checks the session of the browser's cookie.
    """

    # FastAPI describes the endpoint in the OpenAPI document with these two.
    model = HTTPBearer(description="`drydock_<id>_<secret>`")
    scheme_name = "HTTPBearer"

    def __init__(self, scope: Scope, kind: Kind, *, also: Sequence[Scope] = ()) -> None:
        self.scopes = (scope, *also)
        self.kind = kind

    async def __call__(self, request: Request) -> Caller:
        return await self._admit(request, await identify(request, bearer_token(request)))

    async def visitor(self, request: Request) -> Caller:
        caller = (await visit_of(request)).caller
        if caller is None:
            raise TokenInvalid("Sign in with a token first. Perhaps your session has ended.")
        return await self._admit(request, caller)

    async def _admit(self, request: Request, caller: Caller) -> Caller:
        for scope in self.scopes:
            if scope not in caller.scopes:
                await record(request, "scope_refused", actor=caller.id, subject=scope)
                has = ", ".join(sorted(caller.scopes))
                raise ScopeMissing(f"This needs the scope {scope}; the token has {has}.")
        resources: Resources = request.state.resources
        resources.limiter.hit(self.kind, caller.id.hex)
        return caller


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header, if it has one."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return text if scheme.lower() == "bearer" and text else None


async def identify(request: Request, text: str | None) -> Caller:
    """The caller with this token. Raises `TokenInvalid`, and `RateLimited` for guessing."""
    resources: Resources = request.state.resources
    address = client_network(request.scope)
    try:
        caller = await known_tokens(resources).authenticate(
            text, address=address, limiter=resources.limiter
        )
    except (TokenInvalid, RateLimited):
        if text is not None:
            await record(request, "token_refused", subject=id_in(text))
        raise
    bind_contextvars(token_id=str(caller.id))
    return caller


async def caller_of(request: Request) -> Caller | None:
    """The caller, if the Authorization header has a valid token: to tell strangers less.

    Counts one use against the token's rate limit. Raises `RateLimited`.
    """
    text = bearer_token(request)
    if text is None:
        return None
    try:
        caller = await identify(request, text)
    except TokenInvalid:
        return None
    resources: Resources = request.state.resources
    resources.limiter.hit("read", caller.id.hex)
    return caller


@dataclass(frozen=True)
class Visit:
    """The visitor of a page. `invalid`: the browser's session is no longer valid."""

    caller: Caller | None = None
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
    # An open page asks for its live parts by itself. That keeps no session alive.
    active = not request.url.path.startswith(f"{PREFIX}/live")
    try:
        caller = await known_tokens(resources).authenticate_browser(
            text, address=client_network(request.scope), limiter=resources.limiter, active=active
        )
    except RateLimited:
        await record(request, "session_refused")
        raise
    except TokenInvalid:
        await record(request, "session_refused")
        return Visit(invalid=True)
    bind_contextvars(token_id=str(caller.id))
    return Visit(caller=caller)


def cookie_name(settings: Settings) -> str:
    """The name of the cookie that holds the secret of a browser's session.

    With https it begins with `__Host-`: browsers accept such a cookie from this host alone, over
    TLS. Without https the port is in it, since browsers share cookies between all ports of a host,
    and two clones may run on one machine.
    """
    parts = urlsplit(settings.public_url)
    return "__Host-drydock" if parts.scheme == "https" else f"drydock-{parts.port or 80}"
