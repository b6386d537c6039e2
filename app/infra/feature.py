"""What a feature may bring along. `app.registry` lists the features; nothing else names one."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.types import ASGIApp

if TYPE_CHECKING:
    from app.infra.lifespan import Resources

Task = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Cron:
    """A task and when it runs, in crontab's five fields (UTC)."""

    task: Task
    schedule: str


@dataclass(frozen=True)
class Feature:
    """A part of what the service does, and the only thing that the rest knows of it."""

    name: str
    routers: Sequence[APIRouter] = ()
    # Their bodies may be as large as MAX_UPLOAD_BYTES.
    upload_routers: Sequence[APIRouter] = ()
    # Served after everything else, since it answers any path: `/{name}`.
    last_routers: Sequence[APIRouter] = ()
    # Objects that live as long as the process; found at `resources.features[name]`.
    runtime: Callable[["Resources"], AbstractAsyncContextManager[object]] | None = None
    # Answers some requests before FastAPI sees them. It may always pass one on.
    edge: Callable[[ASGIApp], ASGIApp] | None = None
    # The worker's: jobs by name, jobs by the clock, and loops that run until it stops.
    jobs: Sequence[Task] = ()
    crons: Sequence[Cron] = ()
    loops: Sequence[Task] = ()
