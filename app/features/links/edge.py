"""The hot path: ASGI middleware that answers a cached redirect before FastAPI sees it.

An advanced example: see this package's docstring. All other requests go on to the route in
`redirect`, which handles every case. Without this class the answers are the same, but slower.
"""

import re

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import RateLimited
from app.features.links.cache import location_of
from app.features.links.follower import Followed
from app.features.links.runtime import runtime_of
from app.features.links.schemas import RESERVED
from app.infra.http.peers import client_network
from app.infra.http.problems import problem_response
from app.infra.lifespan import Resources

SLUG_PATH = re.compile(r"/([A-Za-z0-9][A-Za-z0-9_-]{1,63})")
FOLLOWED = "followed"  # the key of the lookup's result in the request's state, for the route

# For the metrics: the same template as that of the route in `redirect`.
ROUTE = Route("/{slug}", endpoint=lambda _request: None)

FIXED_HEADERS = ((b"cache-control", b"private, no-store"), (b"content-length", b"0"))


class RedirectEdge:
    """Wraps the application, inside the request middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            path = SLUG_PATH.fullmatch(scope["path"])
            if path is not None and path[1] not in RESERVED:
                await self._follow(path[1], scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _follow(self, slug: str, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = runtime_of(scope["state"]["resources"])
        followed = await runtime.follower.follow(slug, clicks_of(scope["method"]))
        location = location_of(followed) if isinstance(followed, bytes) else None
        if location is None:
            if not isinstance(followed, bytes) and (refusal := _refusal(scope)):
                await refusal(scope, receive, send)
                return
            carry: Followed = followed
            scope["state"][FOLLOWED] = carry
            await self.app(scope, receive, send)
            return
        scope["route"] = ROUTE
        headers = [(b"location", location), *FIXED_HEADERS]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _refusal(scope: Scope) -> Response | None:
    """The answer to one who has asked for too many links that do not exist.

    The route would refuse the request, too. That costs ten times as much, and floods are long.
    """
    resources: Resources = scope["state"]["resources"]
    try:
        resources.limiter.check("miss", client_network(scope))
    except RateLimited as error:
        scope["route"] = ROUTE
        return problem_response(error, scope["state"]["request_id"])
    return None


def clicks_of(method: str) -> int:
    """One for a GET. A HEAD comes from a link checker or a preview, and counts no click."""
    return 1 if method == "GET" else 0
