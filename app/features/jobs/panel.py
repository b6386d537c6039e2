"""The jobs' part of the page at `/`, for people whose token has `jobs:read`."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from app.features.jobs.scopes import JOBS_READ, JOBS_WRITE
from app.features.tokens.auth import visit_of
from app.infra.db import reading
from app.infra.http.pages import PageRequest
from app.infra.jobs import MAY_CANCEL, MAY_RETRY, SHOWN, ShownJob, list_jobs
from app.infra.lifespan import Resources

NEWEST = 5  # jobs of each state; the API lists them all


async def load_panel(request: Request) -> Mapping[str, Any]:
    """`jobs` is None for people who may not see them, and in a service whose features have none."""
    resources: Resources = request.state.resources
    caller = (await visit_of(request)).caller
    scopes = caller.scopes if caller else ()
    jobs: list[ShownJob] | None = None
    more = False
    if JOBS_READ in scopes and resources.jobs:
        jobs, page = [], PageRequest(limit=NEWEST)
        async with reading(resources.sessions) as session:
            for state in SHOWN:
                found = await list_jobs(session, resources.jobs, page=page, states=[state])
                jobs += found.items
                more = more or found.next_cursor is not None
    return {
        "jobs": jobs,
        "more": more,
        "may_write": JOBS_WRITE in scopes,
        "may_retry": MAY_RETRY,
        "may_cancel": MAY_CANCEL,
    }
