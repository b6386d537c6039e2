"""A browser's token: signing in and out, and who is looking at a page.

The token itself is kept in a cookie that no script can read and that other sites can't use. It
opens the pages only: the API takes nothing but an Authorization header, so no cookie can be
misused there. Each request checks it anew, so a token that is revoked opens nothing from then on.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request, Response

from app.config import Settings
from app.features.tokens.errors import ScopeMissing, TokenInvalid
from app.features.tokens.models import Token
from app.features.tokens.schemas import Scope
from app.features.tokens.service import authenticate
from app.infra.db import transaction
from app.infra.http.limits import Kind
from app.infra.lifespan import Resources, ResourcesDep
from app.infra.page.origin import require_same_origin
from app.infra.page.render import PREFIX, PageRoute, page, see_other

router = APIRouter(
    prefix=PREFIX,
    include_in_schema=False,
    route_class=PageRoute,
    dependencies=[Depends(require_same_origin)],
)


@dataclass(frozen=True)
class Visit:
    """Who is looking. `lapsed`: the browser sent a token that opens nothing any more."""

    token: Token | None = None
    lapsed: bool = False


def cookie_name(settings: Settings) -> str:
    """With https the browser itself guarantees that this host set it, over TLS (`__Host-`).

    Without, the port is in it: browsers share cookies between all ports of a host, and so would
    two clones on one machine.
    """
    parts = urlsplit(settings.public_url)
    return "__Host-drydock" if parts.scheme == "https" else f"drydock-{parts.port or 80}"


def remember(settings: Settings, response: Response, text: str) -> None:
    """Until the browser is closed."""
    response.set_cookie(
        cookie_name(settings),
        text,
        path="/",
        secure=settings.public_url.startswith("https://"),
        httponly=True,
        samesite="strict",
    )


def forget(settings: Settings, response: Response) -> None:
    response.delete_cookie(
        cookie_name(settings),
        path="/",
        secure=settings.public_url.startswith("https://"),
        httponly=True,
        samesite="strict",
    )


async def visit_of(request: Request) -> Visit:
    """Who is looking, found out once for each request. Raises `RateLimited`."""
    if not hasattr(request.state, "visit"):
        request.state.visit = await _find_visit(request)
    visit: Visit = request.state.visit
    return visit


async def _find_visit(request: Request) -> Visit:
    resources: Resources = request.state.resources
    text = request.cookies.get(cookie_name(resources.settings))
    if text is None:
        return Visit()
    try:
        return Visit(token=await _authenticate(request, resources, text))
    except TokenInvalid:
        return Visit(lapsed=True)


async def _authenticate(request: Request, resources: Resources, text: str) -> Token:
    """As over the API: failures are counted by address. Raises `TokenInvalid`."""
    try:
        async with transaction(resources.sessions) as session:
            return await authenticate(session, text=text)
    except TokenInvalid:
        await resources.limiter.hit("login", request.client.host if request.client else "-")
        raise


def forget_lapsed(request: Request, response: Response) -> None:
    if getattr(request.state, "visit", Visit()).lapsed:
        forget(request.state.resources.settings, response)


def require_visitor(scope: Scope, kind: Kind) -> Callable[..., Awaitable[Token]]:
    """A dependency of pages, as `auth.require` is of the API.

    Over before the body is read: a stranger's is not read at all.
    """

    async def check(request: Request, resources: ResourcesDep) -> Token:
        token = (await visit_of(request)).token
        if token is None:
            raise TokenInvalid("Sign in with a token first. Perhaps yours was revoked, or expired.")
        if scope not in token.scopes:
            raise ScopeMissing(f"This needs the scope {scope}; the token has {token.scopes}.")
        await resources.limiter.hit(kind, token.id.hex)
        return token

    return check


@router.post("/sign-in")
async def sign_in(
    request: Request, resources: ResourcesDep, token: Annotated[str, Form()] = ""
) -> Response:
    text = token.strip()
    try:
        await _authenticate(request, resources, text)
    except TokenInvalid as error:
        return page(request, "tokens/sign-in.html", status=error.status, fault=error.detail)
    response = see_other("/")
    remember(resources.settings, response, text)
    return response


@router.post("/sign-out")
async def sign_out(resources: ResourcesDep) -> Response:
    response = see_other("/")
    forget(resources.settings, response)
    return response
