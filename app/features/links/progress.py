"""Imports' progress as server-sent events.

A stream holds no database connection. All streams of a process look at the same moments, and share
one query for all their imports.
"""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from fastapi import Request
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.responses import StreamingResponse

from app.errors import RateLimited
from app.features.links import imports
from app.features.links.batching import Batcher
from app.features.links.errors import ImportNotFound, TooManyStreams
from app.features.links.models import ENDED
from app.features.links.places import Limit, Places
from app.features.links.schemas import ImportProgress
from app.features.tokens.auth import bearer_token, identify
from app.features.tokens.errors import TokenInvalid
from app.infra.db import Sessions, reading

LOOK_EVERY = 0.5  # seconds
# Shorter than SHUTDOWN_GRACE, so that no stream delays a shutdown. Browsers connect again.
LONGEST_STREAM = 20.0  # seconds
RECONNECT_AFTER = 1000  # ms
# A stream is a request at work as long as it lasts: a quarter of MAX_CONCURRENT_REQUESTS' default.
LIMIT = Limit("event streams", most=64, most_of_a_token=10, error=TooManyStreams)


def wants_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


class Streams:
    """The streams of this process."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.places = Places(LIMIT)
        self._progress: Batcher[UUID, ImportProgress | None] = Batcher(
            self._read, largest=LIMIT.most, most_waiting=LIMIT.most
        )
        self.close = self._progress.close

    async def find(self, import_id: UUID) -> ImportProgress:
        """Raises `ImportNotFound`."""
        progress = await self._progress.ask(import_id)
        if progress is None:
            raise ImportNotFound("No import has this id.")
        return progress

    async def _read(self, import_ids: list[UUID]) -> list[ImportProgress | None]:
        async with reading(self._sessions) as session:
            found = await imports.read_all_progress(session, import_ids=import_ids)
        return [found.get(import_id) for import_id in import_ids]


async def stream_progress(
    request: Request, streams: Streams, *, import_id: UUID
) -> StreamingResponse:
    """Send an event `progress` at each change and the status at the end, each with the counts.

    Raises `ImportNotFound`. The stream ends soon after its token is no longer valid.
    """
    first = await streams.find(import_id)
    return EventSourceResponse(
        _events(request, streams, first),
        # nginx buffers streams unless this header forbids it.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(request: Request, streams: Streams, now: ImportProgress) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + LONGEST_STREAM
    sent: ImportProgress | None = None
    while True:
        if now != sent:
            ended = now.status in ENDED
            yield format_sse_event(
                event=now.status if ended else "progress",
                data_str=now.model_dump_json(),
                retry=RECONNECT_AFTER,
            )
            if ended:
                return
            sent = now
        # All streams wake up at the same moment, so that they share a query.
        await asyncio.sleep(LOOK_EVERY - loop.time() % LOOK_EVERY)
        if loop.time() >= ends or not await _is_still_valid(request):
            return
        try:
            now = await streams.find(now.id)
        except ImportNotFound:
            return  # it was purged


async def _is_still_valid(request: Request) -> bool:
    """Whether the token of the request is. From memory, or with a query a second for each token."""
    try:
        await identify(request, bearer_token(request))
    except (TokenInvalid, RateLimited):
        return False
    return True
