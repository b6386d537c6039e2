"""What a feature consists of. `app.registry` lists the features."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.types import ASGIApp

from app.config import FeatureSettings
from app.infra.http.problems import ProblemRouter
from app.infra.jobs import JobControl
from app.infra.lifespan import Resources

Task = Callable[..., Awaitable[Any]]


class UploadRouter(ProblemRouter):
    """Routes whose bodies may be as large as MAX_UPLOAD_BYTES."""


class CatchAllRouter(ProblemRouter):
    """Routes that match any path, such as `/{name}`. They are tried after all others."""


@dataclass(frozen=True)
class Panel:
    """A feature's part of the page at `/`.

    `templates` is a folder of Jinja templates, which are named `<feature>/<file>`. Its `panel.html`
    shows what `load` returns, as `view`. If `load` fails or takes too long, the page says so in
    its place. Every page loads the folder's `style.css`, if there is one.
    """

    LIMIT: ClassVar[float] = 1.5  # seconds for all panels together, as long as a health check

    title: str
    templates: Path
    load: Callable[[Request], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Command:
    """Something to try in a terminal: `{url}` is where the service is, `$TOKEN` a token.

    It must work when it is repeated: `make dev` prints it at each start.
    """

    text: str
    says: str


@dataclass(frozen=True)
class Cron:
    """A task and when it runs, in crontab's five fields (UTC)."""

    task: Task
    schedule: str


class Backlog(NamedTuple):
    """Jobs of one kind that are in the same state, such as failed, and the oldest one's age."""

    job: str
    state: str
    number: int
    oldest: datetime


@dataclass(frozen=True)
class Work:
    """What the worker does for a feature."""

    jobs: Sequence[Task] = ()  # run once each time they are enqueued
    crons: Sequence[Cron] = ()
    loops: Sequence[Task] = ()  # run until the worker stops
    # The jobs that wait, run or have failed: for the metrics, and for `python -m app jobs`.
    backlog: Callable[[AsyncSession], Awaitable[Sequence[Backlog]]] | None = None
    # Lets people see these jobs one by one, run them again and cancel them.
    control: JobControl | None = None


@dataclass(frozen=True)
class Feature:
    """One feature. The rest of the service uses these fields and nothing else of it."""

    name: str
    # Read with the service's own settings; found by `settings.of(<the class>)`.
    settings: type[FeatureSettings] | None = None
    routers: Sequence[APIRouter] = ()
    panel: Panel | None = None
    commands: Sequence[Command] = ()
    work: Work = Work()
    # Objects that live as long as the process; found at `resources.features[name]`.
    runtime: Callable[[Resources], AbstractAsyncContextManager[object]] | None = None
    # ASGI middleware that may answer a request before FastAPI sees it, or pass it on.
    edge: Callable[[ASGIApp], ASGIApp] | None = None


def controls_of(features: Sequence[Feature]) -> list[JobControl]:
    works = [feature.work for feature in features]
    return [work.control for work in works if work.control is not None]


@asynccontextmanager
async def open_features(resources: Resources, features: Sequence[Feature]) -> AsyncIterator[None]:
    """Open the runtimes of the features, and close them in the reverse order."""
    resources.jobs[:] = controls_of(features)
    async with AsyncExitStack() as stack:
        for feature in features:
            if feature.runtime is not None:
                runtime = await stack.enter_async_context(feature.runtime(resources))
                resources.features[feature.name] = runtime
        yield
