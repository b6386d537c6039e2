"""What clients send and receive about jobs."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.infra.http.pages import Page, PageRequest
from app.infra.jobs import JobState


class JobRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    job: Annotated[str, Field(description="What kind of job it is.")]
    state: JobState
    created_at: datetime
    attempts: Annotated[int, Field(description="Since it last made progress.")]
    reason: Annotated[
        str | None,
        Field(description="Why it has failed or was cancelled, and what of it stays."),
    ]


class JobPage(Page[JobRead]):
    """Jobs, newest first."""


class JobQuery(PageRequest):
    """Which jobs a list shows."""

    model_config = ConfigDict(extra="forbid")

    state: Annotated[
        Literal["failed", "running", "queued", "cancelled"] | None,
        Field(description="All that have not finished without it."),
    ] = None
