"""An import's progress as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID

from fastapi import Request
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.responses import StreamingResponse

from app.features.links import imports
from app.features.links.models import ImportStatus
from app.features.links.schemas import ImportProgress
from app.infra.db import Sessions, reading

LOOK_EVERY = 0.5  # seconds
# Shorter than SHUTDOWN_GRACE, so that no stream delays a shutdown. Browsers connect again.
LONGEST_STREAM = 20.0  # seconds
RECONNECT_AFTER = 1000  # ms


def wants_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def stream_progress(sessions: Sessions, *, import_id: UUID) -> StreamingResponse:
    """Send an event `progress` at each change and `finished` at the end, each with the counts."""
    return EventSourceResponse(
        _events(sessions, import_id),
        # nginx buffers streams unless this header forbids it.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(sessions: Sessions, import_id: UUID) -> AsyncIterator[bytes]:
    ends = time.monotonic() + LONGEST_STREAM
    sent: ImportProgress | None = None
    while time.monotonic() < ends:
        async with reading(sessions) as session:
            now = await imports.read_progress(session, import_id=import_id)
        if now != sent:
            finished = now.status is ImportStatus.FINISHED
            yield format_sse_event(
                event="finished" if finished else "progress",
                data_str=now.model_dump_json(),
                retry=RECONNECT_AFTER,
            )
            if finished:
                return
            sent = now
        await asyncio.sleep(LOOK_EVERY)
