"""/api/v1/links and /api/v1/imports: handlers that parse, call one service function and return."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from app.errors import UnsupportedMediaType
from app.features.links import imports, lifecycle, service
from app.features.links.errors import (
    FileInvalid,
    ImportNotFound,
    LinkNotFound,
    SlugTaken,
    TooManyImports,
    TooManyStreams,
)
from app.features.links.invalidation import invalidate
from app.features.links.models import Link
from app.features.links.progress import stream_progress, wants_events
from app.features.links.runtime import LinksRuntimeDep
from app.features.links.schemas import (
    ClickSeries,
    ImportProgress,
    ImportRead,
    LinkCreate,
    LinkPage,
    LinkRead,
    LinkUpdate,
    SlugText,
)
from app.features.links.scopes import LINKS_READ, LINKS_WRITE
from app.features.links.service import MOST_BUCKETS, Bucket
from app.features.links.tasks import enqueue_import
from app.features.links.uploads import UPLOAD_BODY, received
from app.features.tokens.auth import Authenticated
from app.features.tokens.errors import ScopeMissing, TokenInvalid
from app.features.tokens.known import Caller
from app.infra.audit import record
from app.infra.db import SessionDep, after_commit
from app.infra.feature import UploadRouter
from app.infra.http.idempotency import IdempotencyKey, KeyReused, begin, once
from app.infra.http.inputs import UtcTime
from app.infra.http.pages import PageDep
from app.infra.http.problems import API_ERRORS, ProblemRouter, responses
from app.infra.lifespan import Resources, ResourcesDep

Reader = Annotated[Caller, Depends(Authenticated(LINKS_READ, "read"))]
Writer = Annotated[Caller, Depends(Authenticated(LINKS_WRITE, "write"))]
Maker = Annotated[Caller, Depends(once(Authenticated(LINKS_WRITE, "write")))]
# For a change whose answer holds the whole link.
Editor = Annotated[Caller, Depends(Authenticated(LINKS_WRITE, "write", also=(LINKS_READ,)))]
SlugPath = Annotated[SlugText, Path()]

SINCE = f"Default: 2 days or 30 days ago. The series must have at most {MOST_BUCKETS} buckets."
UNTIL = "Exclusive. Default: now. Must lie at least one bucket after `since`."


async def count_stream(
    request: Request, reader: Reader, runtime: LinksRuntimeDep
) -> AsyncIterator[None]:
    """If the caller wants a stream, count it until its last event was sent."""
    if not wants_events(request):
        yield
        return
    with runtime.streams.places.taken(reader.id):
        yield


GUARDED = responses(*API_ERRORS, TokenInvalid, ScopeMissing)

links_router = ProblemRouter(prefix="/api/v1/links", tags=["links"], responses=GUARDED)
imports_router = UploadRouter(prefix="/api/v1/imports", tags=["imports"], responses=GUARDED)


def _read(resources: Resources, link: Link, clicks: int) -> LinkRead:
    return LinkRead(
        slug=link.slug,
        url=link.url,
        title=link.title,
        short_url=f"{resources.settings.public_url}/{link.slug}",
        created_at=link.created_at,
        expires_at=link.expires_at,
        clicks=clicks,
    )


@links_router.post("", status_code=201, responses=responses(SlugTaken, KeyReused))
async def create_link(
    body: LinkCreate,
    maker: Maker,
    session: SessionDep,
    resources: ResourcesDep,
    runtime: LinksRuntimeDep,
    response: Response,
) -> LinkRead:
    """Shorten a URL, under a slug of your choice or one that is made up.

    A request that is sent again with its `Idempotency-Key` makes no second link. It is answered as
    the first one was, and with `Idempotency-Replayed: true`.
    """
    link = await service.create_link(session, data=body, created_by=maker.id)
    await invalidate(session, resources.breaker, runtime.cache, slugs=[link.slug])
    response.headers["Location"] = f"{links_router.prefix}/{link.slug}"
    return _read(resources, link, clicks=0)


@links_router.get("")
async def list_links(
    _reader: Reader, session: SessionDep, resources: ResourcesDep, page: PageDep
) -> LinkPage:
    """All links, newest first."""
    found = await service.list_links(session, page=page)
    clicks = await service.total_clicks(session, links=found.items)
    items = [_read(resources, link, clicks.get(link.id, 0)) for link in found.items]
    return LinkPage(items=items, next_cursor=found.next_cursor)


@links_router.get("/{slug}", responses=responses(LinkNotFound))
async def read_link(
    slug: SlugPath, _reader: Reader, session: SessionDep, resources: ResourcesDep
) -> LinkRead:
    """One link, expired or not."""
    link, clicks = await service.find_counted(session, slug=slug)
    return _read(resources, link, clicks)


@links_router.patch("/{slug}", responses=responses(LinkNotFound))
async def change_link(
    slug: SlugPath,
    body: LinkUpdate,
    editor: Editor,
    request: Request,
    session: SessionDep,
    resources: ResourcesDep,
    runtime: LinksRuntimeDep,
) -> LinkRead:
    """Change the given fields. Once this has answered, no redirect leads to the old URL.

    The answer holds the whole link, so this needs links:read, too.
    """
    link, retargeted = await service.change_link(session, slug=slug, data=body)
    if retargeted:
        after_commit(
            session, partial(record, request, "link_retargeted", actor=editor.id, subject=slug)
        )
    await invalidate(session, resources.breaker, runtime.cache, slugs=[slug])
    clicks = await service.total_clicks(session, links=[link])
    return _read(resources, link, clicks.get(link.id, 0))


@links_router.delete("/{slug}", status_code=204, responses=responses(LinkNotFound))
async def delete_link(
    slug: SlugPath,
    writer: Writer,
    request: Request,
    session: SessionDep,
    resources: ResourcesDep,
    runtime: LinksRuntimeDep,
) -> None:
    """Delete a link and its clicks. Once this has answered, the slug redirects no more."""
    await service.delete_link(session, slug=slug)
    after_commit(session, partial(record, request, "link_deleted", actor=writer.id, subject=slug))
    await invalidate(session, resources.breaker, runtime.cache, slugs=[slug])


@links_router.get("/{slug}/clicks", responses=responses(LinkNotFound))
async def read_clicks(
    slug: SlugPath,
    _reader: Reader,
    session: SessionDep,
    bucket: Annotated[Bucket, Query()] = "day",
    since: Annotated[UtcTime | None, Query(description=SINCE)] = None,
    until: Annotated[UtcTime | None, Query(description=UNTIL)] = None,
) -> ClickSeries:
    """Clicks by hour or day (UTC), without gaps. A click shows up about a second later."""
    start, end = service.bound_series(bucket, since, until)
    link = await service.find_link(session, slug=slug)
    series = await service.click_series(session, link=link, bucket=bucket, start=start, end=end)
    return ClickSeries(total=sum(part.clicks for part in series), series=series)


@imports_router.post(
    "",
    status_code=202,
    responses=responses(UnsupportedMediaType, FileInvalid, KeyReused, TooManyImports),
    openapi_extra={"requestBody": UPLOAD_BODY},
)
async def start_import(
    request: Request,
    writer: Writer,
    session: SessionDep,
    resources: ResourcesDep,
    runtime: LinksRuntimeDep,
    response: Response,
    key: IdempotencyKey = None,
) -> ImportProgress:
    """Import links from a CSV file. Its header names url and, optionally, slug, title, expires_at.

    The file is stored before this answers, and the worker imports it. A second import of the same
    file changes nothing.
    """
    async with received(request, resources, runtime.uploads, created_by=writer.id) as file:
        if key is not None:
            # Of the file, not of the body: each form around it has another boundary.
            request.state.begun = await begin(request, session, writer.id, key, file.digest)
        job = await lifecycle.end_upload(session, import_id=file.import_id, total=file.rows)
    after_commit(session, partial(enqueue_import, resources.enqueuer, job.id))
    response.headers["Location"] = f"{imports_router.prefix}/{job.id}"
    return job


@imports_router.get(
    "/{import_id}",
    response_model=ImportRead,
    dependencies=[Depends(count_stream, scope="request")],
    responses={
        **responses(ImportNotFound, TooManyStreams),
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    },
)
async def read_import(
    import_id: UUID,
    request: Request,
    _reader: Reader,
    session: SessionDep,
    runtime: LinksRuntimeDep,
    errors_after: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> ImportRead | StreamingResponse:
    """An import's progress. With `Accept: text/event-stream` it is sent until it is finished."""
    if wants_events(request):
        return await stream_progress(request, runtime.streams, import_id=import_id)
    return await imports.read_import(session, import_id=import_id, errors_after=errors_after)


@imports_router.post("/{import_id}/retry", status_code=202, responses=responses(ImportNotFound))
async def retry_import(
    import_id: UUID, _editor: Editor, session: SessionDep, resources: ResourcesDep
) -> ImportProgress:
    """Run a failed import again, from the line at which it stopped. Others go on as they are."""
    job = await lifecycle.retry(session, import_id=import_id)
    after_commit(session, partial(enqueue_import, resources.enqueuer, import_id))
    return job
