"""Which web pages of other origins may use the API (CORS), by ALLOWED_ORIGINS."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

# Headers that a script may send, besides those that CORS always allows.
SENT = ("Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID", "traceparent")
# Headers of an answer that a script may read, besides those that CORS always shows.
SHOWN = ("Idempotency-Replayed", "Location", "Retry-After", "X-Request-ID")
REMEMBERED = 600  # seconds in which a browser sends no second preflight


def allow_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Answer preflights, and tell browsers which origins may read answers, refusals included.

    This is outside the limits and the authentication, because a preflight has no credentials.
    Without `allow_credentials` no script of another origin can use the cookie of the page.
    """
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=SENT,
        expose_headers=SHOWN,
        max_age=REMEMBERED,
    )
