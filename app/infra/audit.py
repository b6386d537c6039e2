"""Security events: who did what, in one form that an alert can count.

Each is a log line `security_event`, and adds one to the metric
`drydock_security_events_total`.
"""

from uuid import UUID

import structlog
from fastapi import Request

from app.infra.lifespan import Resources

log = structlog.get_logger(__name__)


async def record(
    request: Request, action: str, *, actor: UUID | None = None, subject: str | None = None
) -> None:
    """Record that `actor`, the id of a token, did `action` to `subject`.

    `action` is a word of the code, such as token_revoked. Without a valid token there is no actor.
    Record a change with `after_commit`, so that only what has happened is recorded.
    """
    resources: Resources = request.state.resources
    resources.metrics.security_events.labels(action).inc()
    log.info(
        "security_event",
        action=action,
        actor=None if actor is None else str(actor),
        subject=subject,
        client=request.client.host if request.client else None,
    )
