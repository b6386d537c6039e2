"""What the worker does for tokens: purge sessions that have ended."""

from datetime import timedelta

import structlog
from sqlalchemy import func, or_

from app.features.tokens.models import BrowserSession
from app.features.tokens.settings import TokensSettings
from app.infra.lifespan import Resources
from app.infra.purge import delete_in_batches
from app.infra.queue import JobContext

log = structlog.get_logger(__name__)


async def purge_sessions(context: JobContext) -> None:
    """Delete sessions that have ended. Those of revoked tokens end by themselves within hours."""
    resources: Resources = context["resources"]
    idle = timedelta(seconds=resources.settings.of(TokensSettings).session_idle_seconds)
    ended = or_(
        BrowserSession.expires_at < func.now(), BrowserSession.last_seen_at < func.now() - idle
    )
    purged = await delete_in_batches(resources.sessions, BrowserSession, ended)
    log.info("sessions_purged", sessions=purged)
