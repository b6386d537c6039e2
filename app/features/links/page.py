"""The page's forms: create a link, import a file, show an import. The API offers the same."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError

from app.errors import fault_message
from app.features.links import imports, lifecycle, service
from app.features.links.errors import SlugTaken
from app.features.links.invalidation import invalidate
from app.features.links.models import ENDED, ImportStatus
from app.features.links.runtime import LinksRuntimeDep
from app.features.links.schemas import LinkCreate
from app.features.links.scopes import LINKS_READ, LINKS_WRITE
from app.features.links.tasks import enqueue_import
from app.features.links.uploads import received
from app.features.tokens.auth import Authenticated
from app.features.tokens.known import Caller
from app.infra.db import SessionDep, after_commit
from app.infra.feature import UploadRouter
from app.infra.http.idempotency import FormKey, begin_form, once_on_page
from app.infra.lifespan import ResourcesDep
from app.infra.page.origin import require_same_origin
from app.infra.page.render import PREFIX, PageRoute, page, see_other

Reader = Annotated[Caller, Depends(Authenticated(LINKS_READ, "read").visitor)]
Writer = Annotated[Caller, Depends(Authenticated(LINKS_WRITE, "write").visitor)]
Maker = Annotated[Caller, Depends(once_on_page(Authenticated(LINKS_WRITE, "write").visitor))]

SHOWN_ERRORS = 50  # rows; the API pages through them all
FIELDS = ("url", "slug", "title")

OF_PAGES: dict[str, Any] = {
    "prefix": PREFIX,
    "include_in_schema": False,
    "route_class": PageRoute,
    "dependencies": [Depends(require_same_origin)],
}
forms_router = APIRouter(**OF_PAGES)
files_router = UploadRouter(**OF_PAGES)


@forms_router.post("/links")
async def create_link(
    request: Request,
    maker: Maker,
    session: SessionDep,
    resources: ResourcesDep,
    runtime: LinksRuntimeDep,
) -> Response:
    """Create a link and return to the overview, or show each fault beside its field."""
    async with request.form(max_files=0, max_fields=10) as form:
        values = {name: str(form.get(name, "")).strip() for name in FIELDS}
    try:
        data = LinkCreate.model_validate({name: text for name, text in values.items() if text})
        link = await service.create_link(session, data=data, created_by=maker.id)
    except (ValidationError, SlugTaken) as error:
        status, faults = _explain(error)
        return page(
            request,
            "links/new.html",
            status=status,
            view={"values": values, "faults": faults, "public_url": resources.settings.public_url},
        )
    await invalidate(session, resources.breaker, runtime.cache, slugs=[link.slug])
    return see_other(f"/?made={link.slug}#links")


def _explain(error: ValidationError | SlugTaken) -> tuple[int, dict[str, str]]:
    """The status, and a message for each faulty field."""
    if isinstance(error, SlugTaken):
        return error.status, {"slug": error.detail}
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        message = _PLAINER.get(fault["type"]) or fault_message(fault)
        faults.setdefault(str(fault["loc"][0]), message)
    return 422, faults


# Messages by pydantic's error type, where its own are written for programmers.
_PLAINER = {
    "missing": "is required: where does the link lead?",
}


@files_router.post("/imports")
async def start_import(
    request: Request,
    writer: Writer,
    session: SessionDep,
    resources: ResourcesDep,
    runtime: LinksRuntimeDep,
    key: FormKey = None,
) -> Response:
    """Store the file and go to the page of the import."""
    async with received(request, resources, runtime.uploads, created_by=writer.id) as file:
        if key is not None:
            begun = await begin_form(request, session, writer.id, key, file.digest)
            request.state.begun = begun
        job = await lifecycle.end_upload(session, import_id=file.import_id, total=file.rows)
    after_commit(session, partial(enqueue_import, resources.enqueuer, job.id))
    return see_other(f"{PREFIX}/imports/{job.id}")


@forms_router.post("/imports/{import_id}/retry")
async def retry_import(
    import_id: UUID, _writer: Writer, session: SessionDep, resources: ResourcesDep
) -> Response:
    """Run a failed import again, and return to its page."""
    await lifecycle.retry(session, import_id=import_id)
    after_commit(session, partial(enqueue_import, resources.enqueuer, import_id))
    return see_other(f"{PREFIX}/imports/{import_id}")


@forms_router.api_route("/imports/{import_id}", methods=["GET", "HEAD"])
@forms_router.api_route("/live/imports/{import_id}", methods=["GET", "HEAD"])
async def show_import(
    import_id: UUID, request: Request, reader: Reader, session: SessionDep
) -> Response:
    """Show an import. Until it has ended, the page reloads its content twice a second."""
    found = await imports.read_import(session, import_id=import_id, errors_after=0)
    return page(
        request,
        "links/import.html",
        job=found,
        ended=found.status in ENDED,
        may_retry=found.status is ImportStatus.FAILED and LINKS_WRITE in reader.scopes,
        errors=found.errors[:SHOWN_ERRORS],
    )
