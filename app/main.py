"""The web process: `create_app(settings)` composes middleware, error handlers and routers."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.lowlevel import checkpoint
from fastapi import FastAPI
from sqlalchemy.orm import configure_mappers
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from app.config import Settings
from app.health import Health, health_router
from app.home.router import TEMPLATES as HOME
from app.home.router import router as home_router
from app.infra.capacity import check_capacity, raise_file_limit
from app.infra.feature import CatchAllRouter, UploadRouter, open_features
from app.infra.http.docs import describe_problems, install_docs
from app.infra.http.middleware import BodyLimit, add_middleware
from app.infra.http.problems import install_problem_handlers
from app.infra.lifespan import State, open_resources
from app.infra.logs import configure_logging
from app.infra.metrics import Metrics
from app.infra.page.assets import install_assets
from app.infra.page.render import Pages
from app.registry import FEATURES, load_settings

DESCRIPTION = """\
A service on FastAPI, Postgres and Redis.

Send `Authorization: Bearer <token>`; the first token comes from `python -m app token create`.
Errors are RFC 9457 problem documents: branch on `code`.
"""


class WebState(State):
    health: Health


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The service as one ASGI application, ready for a server. Without settings it reads them.

    Raises `ConfigurationError`. Nothing connects before the lifespan starts.
    """
    settings = settings or load_settings()
    configure_logging(settings)
    edges = [feature.edge for feature in FEATURES if feature.edge is not None]
    metrics = Metrics(settings)
    return add_middleware(create_api(settings, metrics), settings, metrics, edges)


def create_api(settings: Settings, metrics: Metrics) -> FastAPI:
    """The FastAPI application, without the middleware around it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[WebState]:
        raise_file_limit()
        async with open_resources(settings, name="drydock-web", metrics=metrics) as resources:
            await check_capacity(resources.engine, settings)
            async with (
                open_features(resources, FEATURES),
                resources.limiter.sharing(),
                Health.opened(resources) as health,
            ):
                await load_early(api)
                # The garbage collector ignores the objects that exist now. Scanning them again and
                # again would take a third of a request's CPU time.
                gc.freeze()
                yield {"resources": resources, "health": health}
                gc.unfreeze()

    api = FastAPI(
        title="Drydock",
        version=settings.git_sha,
        description=DESCRIPTION,
        openapi_tags=list_tags(),
        docs_url=None,
        redoc_url=None,
        debug=settings.debug,
        servers=[{"url": settings.base_path}] if settings.base_path else None,
        # A path with a slash too many is not found. It would be a second address otherwise.
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[Middleware(BodyLimit, limit=settings.max_body_bytes)],
        # `RequestMiddleware` logs and measures requests. FastAPI's own way costs each request 10 %.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install_problem_handlers(api)
    install_pages(api, settings)
    add_routes(api, settings)
    describe_problems(api)
    return api


def list_tags() -> list[dict[str, str]]:
    """The groups of /docs in their order: the feature that was added last comes first."""
    features = [router for feature in reversed(FEATURES) for router in feature.routers]
    names = [
        str(tag)
        for router in (*features, health_router)
        if router.include_in_schema
        for tag in router.tags
    ]
    return [{"name": name} for name in dict.fromkeys(names)]


async def load_early(api: FastAPI) -> None:
    """Load what the first requests would load. They would keep the event loop busy meanwhile."""
    await checkpoint()  # anyio's backend, which Starlette uses
    configure_mappers()
    api.openapi()
    api.state.pages.load()


def add_routes(api: FastAPI, settings: Settings) -> None:
    """Add the routes in the order in which they are tried: the most frequent ones first."""
    routers = [health_router, *(router for feature in FEATURES for router in feature.routers)]
    last = [router for router in routers if isinstance(router, CatchAllRouter)]
    for router in routers:
        if isinstance(router, UploadRouter):
            # A form needs a little room around its file.
            room = settings.max_upload_bytes + settings.max_body_bytes
            api.include_router(router, max_body_size=room)
        elif router not in last:
            # Not `include_router`: each request would try each route of an included router twice.
            api.router.routes.extend(router.routes)
    api.router.routes.extend(home_router.routes)
    install_docs(api)
    for router in last:
        api.router.routes.extend(router.routes)


def install_pages(api: FastAPI, settings: Settings) -> None:
    folders = {feature.name: feature.panel.templates for feature in FEATURES if feature.panel}
    watch = settings.environment == "development"
    api.state.pages = Pages({"home": HOME, **folders}, watch=watch, base=settings.base_path)
    install_assets(api, api.state.pages.assets)
