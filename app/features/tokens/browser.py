"""Signing in and out on the page.

The browser sends its token once, and keeps a session in a cookie, which no script can read and no
other site can use. The cookie is for pages only: the API takes nothing but an Authorization header.
"""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.config import Settings
from app.features.tokens.auth import cookie_name, identify, known_visit, visit_of
from app.features.tokens.errors import TokenInvalid
from app.features.tokens.known import known_tokens
from app.features.tokens.sessions import end_session, open_session, parse_secret
from app.features.tokens.settings import TokensSettings
from app.infra.audit import record
from app.infra.db import SessionDep, after_commit
from app.infra.lifespan import Resources, ResourcesDep
from app.infra.page.origin import require_same_origin
from app.infra.page.render import PREFIX, PageRoute, page, see_other

router = APIRouter(
    prefix=PREFIX,
    include_in_schema=False,
    route_class=PageRoute,
    dependencies=[Depends(require_same_origin)],
)


@router.post("/sign-in")
async def sign_in(
    request: Request,
    resources: ResourcesDep,
    session: SessionDep,
    token: Annotated[str, Form()] = "",
) -> Response:
    try:
        caller = await identify(request, token.strip())
    except TokenInvalid as error:
        return page(request, "tokens/sign-in.html", status=error.status, fault=error.detail)
    resources.limiter.hit("write", caller.id.hex)
    await _end_present(request, session)
    seconds = resources.settings.of(TokensSettings).session_seconds
    secret = await open_session(session, token_id=caller.id, seconds=seconds)
    after_commit(session, partial(record, request, "signed_in", actor=caller.id))
    response = see_other("/")
    _set_cookie(response, resources.settings, secret)
    return response


@router.post("/sign-out")
async def sign_out(request: Request, resources: ResourcesDep, session: SessionDep) -> Response:
    """End the session at the server. A copy of the cookie opens nothing from then on."""
    if (await visit_of(request)).caller is not None:  # this limits guesses
        await _end_present(request, session)
    response = see_other("/")
    _set_cookie(response, resources.settings, "")
    return response


async def _end_present(request: Request, session: AsyncSession) -> None:
    """End the session of the request's cookie, if there is one."""
    resources: Resources = request.state.resources
    try:
        secret_hash = parse_secret(request.cookies.get(cookie_name(resources.settings), ""))
    except TokenInvalid:
        return
    token_id = await end_session(session, secret_hash=secret_hash)

    async def ended() -> None:
        known_tokens(resources).forget_session(secret_hash)
        if token_id is not None:
            await record(request, "signed_out", actor=token_id)

    after_commit(session, ended)


def forget_invalid(request: Request, response: Response) -> None:
    """Have the browser forget a session that is no longer valid."""
    if known_visit(request).invalid:
        _set_cookie(response, request.state.resources.settings, "")


def _set_cookie(response: Response, settings: Settings, text: str) -> None:
    """Keep the secret until the browser is closed; an empty text deletes it."""
    response.set_cookie(
        cookie_name(settings),
        text,
        max_age=None if text else 0,
        path="/",
        secure=settings.public_url.startswith("https://"),
        httponly=True,
        samesite="strict",
    )
