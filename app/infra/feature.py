"""What a feature may bring along. `app.registry` lists the features; nothing else names one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
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
class Panel:
    """A part of the page at `/`: its heading, its template, and what that shows as `view`.

    `load` may fail or take too long: then the page says so in its place.
    """

    title: str
    template: str
    load: Callable[[Request], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Command:
    """Something to try in a terminal. `{url}` stands for where the service is."""

    text: str
    says: str


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
    # A folder of Jinja templates; they go by `<name>/<file>`.
    templates: Path | None = None
    panel: Panel | None = None
    commands: Sequence[Command] = ()
    # The worker's: jobs by name, jobs by the clock, and loops that run until it stops.
    jobs: Sequence[Task] = ()
    crons: Sequence[Cron] = ()
    loops: Sequence[Task] = ()
