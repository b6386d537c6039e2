"""The tokens' part of the page at `/`: a form to sign in, or who is signed in."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from app.features.tokens import service
from app.features.tokens.auth import visit_of
from app.features.tokens.scopes import TOKENS_WRITE
from app.infra.db import reading
from app.infra.http.pages import PageRequest
from app.infra.lifespan import Resources

NEWEST = 5  # tokens; the API lists them all


async def load_panel(request: Request) -> Mapping[str, Any]:
    resources: Resources = request.state.resources
    visit = await visit_of(request)
    tokens = None
    if visit.caller is not None and TOKENS_WRITE in visit.caller.scopes:
        async with reading(resources.sessions) as session:
            page = PageRequest(limit=NEWEST)
            tokens = (await service.list_tokens(session, page=page)).items
    development = resources.settings.environment == "development"
    return {
        "caller": visit.caller,
        "invalid": visit.invalid,
        "tokens": tokens,
        "development": development,
    }
