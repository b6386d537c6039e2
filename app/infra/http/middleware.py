"""The middleware of every request: request id, log line, security headers, allowed hosts.

It wraps FastAPI, so that requests that a feature answers before FastAPI get the same. It is plain
ASGI, because each `@app.middleware("http")` costs a task and a queue.
"""

import os
import re
import time
from collections.abc import Callable, Sequence

import structlog
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from app.config import Settings
from app.errors import BadRequest, BodyTooLarge, InternalError
from app.infra.http.admission import Admission, has_body
from app.infra.http.base_path import BasePath
from app.infra.http.cors import allow_origins
from app.infra.http.peers import TrustedProxies
from app.infra.http.problems import problem_response
from app.infra.http.tracing import TraceRequests, is_probe
from app.infra.metrics import Metrics
from app.infra.page.render import PREFIX, error_page

log = structlog.get_logger("app.request")

GIVEN_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
# The server buffers a whole piece for each client, however slowly it reads.
PIECE = 65_536  # bytes

Edge = Callable[[ASGIApp], ASGIApp]
Header = tuple[bytes, bytes]


def add_middleware(
    app: ASGIApp, settings: Settings, metrics: Metrics, edges: Sequence[Edge]
) -> ASGIApp:
    """Wrap the application in the middleware and the features' edges, the outermost last."""
    for edge in edges:
        app = edge(app)
    app = Admission(app, settings.max_concurrent_requests)
    app = AllowedHosts(app, settings.allowed_hosts)
    if settings.allowed_origins:
        app = allow_origins(app, settings.allowed_origins)
    app = RequestMiddleware(app, metrics, https=settings.public_url.startswith("https://"))
    if settings.traced:
        app = TraceRequests(app)
    if settings.base_path:
        app = BasePath(app, settings.base_path)
    if not settings.trusted_proxies:
        return app
    return TrustedProxies(app, settings.trusted_proxies)


def header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


class RequestMiddleware:
    """Gives each request an id, a log line and a metric, each response the security headers.

    It answers 500 when all else has failed. It is one class, because each wrapper around `send`
    makes a small answer several percent slower.
    """

    POLICY = (
        b"content-security-policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    )

    def __init__(self, app: ASGIApp, metrics: Metrics, *, https: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.headers = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-frame-options", b"DENY"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        if https:
            # Two years, the shortest that browsers' preload lists accept.
            self.headers.append((b"strict-transport-security", b"max-age=63072000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        # Always a new one: a caller could choose that of somebody else's request.
        request_id = os.urandom(16).hex()
        scope["state"]["request_id"] = request_id
        # Each request is a task with its own context, so nothing has to be unbound.
        bind_contextvars(request_id=request_id)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._complete(message["headers"], request_id)
            elif len(message.get("body", b"")) > PIECE:
                message = await _send_begin(message, send)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            # The last boundary. FastAPI raises an error again after it has answered with 500, and
            # other middleware may fail. The error is logged, and answered if nothing was sent yet.
            log.exception("request_failed")
            if not status:
                error = InternalError("The error was logged with this request's id.")
                await problem_response(error, request_id)(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "")
            self.metrics.observe_request(scope["method"], route, status, seconds)
            _log_request(scope, status, seconds)

    def _complete(self, given: Sequence[Header], request_id: str) -> list[Header]:
        headers = [*given, *self.headers, (b"x-request-id", request_id.encode())]
        for name, _ in given:
            if name == self.POLICY[0]:
                return headers  # a page with its own policy
        headers.append(self.POLICY)
        return headers


async def _send_begin(message: Message, send: Send) -> Message:
    """Send a large body but for its last piece, each when the client has read the one before."""
    body = memoryview(message["body"])
    begin = 0
    while len(body) - begin > PIECE:
        piece = bytes(body[begin : begin + PIECE])
        await send({"type": message["type"], "body": piece, "more_body": True})
        begin += PIECE
    return {**message, "body": bytes(body[begin:])}


def _given_id(scope: Scope) -> dict[str, str]:
    """The id that the caller, or a proxy, has for the request, if it is well-formed."""
    given = header(scope, b"x-request-id")
    return {"client_request_id": given.decode()} if given and GIVEN_ID.fullmatch(given) else {}


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    path = scope["path"]
    refused = 400 <= status < 500  # noqa: PLR2004 -- the class of client errors
    if is_probe(path) and not refused:
        write = log.debug
    elif status >= 500:  # noqa: PLR2004 -- the class of server errors
        write = log.error
    else:
        write = log.info
    client = scope.get("client")
    write(
        "request",
        method=scope["method"],
        path=path,
        status=status,
        duration_ms=round(seconds * 1000, 2),
        client=client[0] if client else None,
        **_given_id(scope),
    )


class BodyLimit:
    """Starlette's limit on a body's size, with a problem document in place of its plain-text 413.

    The limit answers a too large Content-Length itself, without the exception handlers. It belongs
    inside FastAPI's outermost middleware, which would log its exception as an error.

    FastAPI's `max_body_size` puts two of these limits around each request, also around one without
    a body.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limited = RequestBodyLimitMiddleware(app, limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not has_body(scope):
            await self.app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if _is_plain_413(message):
                replaced = True
                error = BodyTooLarge("The body is larger than this endpoint takes.")
                answer = problem_response(error, request_id)
                if scope["path"].startswith(f"{PREFIX}/"):
                    answer = error_page(Request(scope), error)
                await answer(scope, receive, send)
            if not replaced:
                await send(message)

        await self.limited(scope, receive, send_problem)


def _is_plain_413(message: Message) -> bool:
    """Whether it begins the body limit's own answer. Ours are problem documents or pages."""
    return (
        message["type"] == "http.response.start"
        and message["status"] == BodyTooLarge.status
        and any(
            name == b"content-type" and value.startswith(b"text/plain")
            for name, value in message["headers"]
        )
    )


class AllowedHosts:
    """Refuses a Host header that is not in ALLOWED_HOSTS, as it could end up in URLs that we send.

    Starlette's own middleware answers in plain text; this one answers with a problem document.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app = app
        self.any = "*" in hosts
        self.exact = {host.lower().encode() for host in hosts}
        self.suffixes = tuple(host[1:].lower().encode() for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.any or self._allows(header(scope, b"host") or b""):
            await self.app(scope, receive, send)
            return
        error = BadRequest("The Host header names no host that is served here (ALLOWED_HOSTS).")
        await problem_response(error, scope["state"]["request_id"])(scope, receive, send)

    def _allows(self, host: bytes) -> bool:
        name, colon, port = host.lower().rpartition(b":")
        if not colon or not port.isdigit():
            name = host.lower()  # there is no port: a name, or an IPv6 address in brackets
        return name in self.exact or bool(self.suffixes and name.endswith(self.suffixes))
