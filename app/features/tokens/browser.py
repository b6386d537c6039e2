"""Signing in and out on the page.

The browser keeps the token in a cookie, which no script can read and no other site can use. The
cookie is for pages only: the API takes nothing but an Authorization header. Each request checks the
token again, so a revoked one is refused within TOKEN_CACHE_SECONDS.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

from app.config import Settings
from app.features.tokens.auth import cookie_name, identify, known_visit
from app.features.tokens.errors import TokenInvalid
from app.infra.lifespan import ResourcesDep
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
    request: Request, resources: ResourcesDep, token: Annotated[str, Form()] = ""
) -> Response:
    text = token.strip()
    try:
        await identify(request, text)
    except TokenInvalid as error:
        return page(request, "tokens/sign-in.html", status=error.status, fault=error.detail)
    response = see_other("/")
    _set_cookie(response, resources.settings, text)
    return response


@router.post("/sign-out")
async def sign_out(resources: ResourcesDep) -> Response:
    response = see_other("/")
    _set_cookie(response, resources.settings, "")
    return response


def forget_invalid(request: Request, response: Response) -> None:
    """Have the browser forget a token that is no longer valid."""
    if known_visit(request).invalid:
        _set_cookie(response, request.state.resources.settings, "")


def _set_cookie(response: Response, settings: Settings, text: str) -> None:
    """Keep the token until the browser is closed; an empty text deletes it."""
    response.set_cookie(
        cookie_name(settings),
        text,
        max_age=None if text else 0,
        path="/",
        secure=settings.public_url.startswith("https://"),
        httponly=True,
        samesite="strict",
    )
