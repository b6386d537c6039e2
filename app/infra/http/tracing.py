"""The span of a request: a plain ASGI middleware, which is there only if traces are on.

It is the outermost, so that each request has one, also one that is refused or answered before
FastAPI. FastAPI's own spans lack those, and hold the values of the query string.
"""

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.metrics import METHODS
from app.infra.traces import mark_failed

if TYPE_CHECKING:
    from app.infra.traces import Traces

# Probes and open pages send requests all the time. They would hide the others.
PROBES = ("/health/", "/page/live/")


def is_probe(path: str) -> bool:
    return f"{path}/".startswith(PROBES)


class TraceRequests:
    """Gives each request a span, which continues the trace of the header `traceparent`.

    Names and attributes: https://opentelemetry.io/docs/specs/semconv/http/http-spans/. Headers and
    the query string are left out, as they hold secrets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_probe(scope["path"]):
            await self.app(scope, receive, send)
            return
        traces: Traces = scope["state"]["resources"].traces
        known = scope["method"] in METHODS
        name = scope["method"] if known else "HTTP"
        attributes = {
            "http.request.method": scope["method"] if known else "_OTHER",
            "url.scheme": scope["scheme"],
            "url.path": scope["path"],
        }
        headers = dict(scope["headers"])
        carrier = {
            key: headers[key.encode()].decode("latin-1")
            for key in ("traceparent", "tracestate")
            if key.encode() in headers
        }

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                status: int = message["status"]
                span.set_attribute("http.response.status_code", status)
                if status >= 500:  # noqa: PLR2004 -- the class of server errors
                    mark_failed(span, str(status))
            await send(message)

        with traces.entered(name, SpanKind.SERVER, carrier, attributes) as span:
            if not span.is_recording():
                await self.app(scope, receive, send)
                return
            try:
                await self.app(scope, receive, send_and_record)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    span.update_name(f"{name} {route}")
                    span.set_attribute("http.route", route)
