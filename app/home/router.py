"""GET /: what this is and how it fares, for people. Machines ask /health.

In production a stranger sees no more than whether each part works: not how fast, not why not, and
not how much traffic there is. Whoever holds a token sees it all.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from app.features.tokens.auth import visit_of
from app.features.tokens.browser import forget_lapsed
from app.health import Health
from app.home.view import TrafficView, headline, show_checks, show_commands
from app.infra.feature import Panel
from app.infra.http.problems import as_app_error
from app.infra.lifespan import Resources
from app.infra.page.render import PREFIX, PageRoute, page
from app.infra.traffic import Traffic
from app.registry import FEATURES

log = structlog.get_logger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
CHECKS = ("postgres", "migrations", "redis", "worker")
# Seconds for all that the panels ask for, as long as a health check may take: what they show is
# worth no more, and health is shown whatever they do.
LIMIT = 1.5

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass
class Loaded:
    """What was had in time. A panel without a view could not be had."""

    insider: bool
    views: dict[str, Mapping[str, Any]] = field(default_factory=dict)


@router.api_route("/", methods=["GET", "HEAD"])
@router.api_route(f"{PREFIX}/live", methods=["GET", "HEAD"])
async def home(request: Request) -> Response:
    """`/page/live` is the same page: what an open one asks for again and again, unlogged."""
    resources: Resources = request.state.resources
    health: Health = request.state.health
    traffic: Traffic = request.state.traffic
    await resources.limiter.hit("read", request.client.host if request.client else "-")
    report, hour, loaded = await asyncio.gather(
        health.report(*CHECKS), traffic.last_hour(), _load(request, resources)
    )
    checks = show_checks(report)
    answer = await page(
        request,
        "home/home.html",
        environment=resources.settings.environment,
        version=report.version,
        insider=loaded.insider,
        headline=headline(checks),
        checks=checks,
        traffic=TrafficView(hour),
        panels=[(name, panel, loaded.views.get(name)) for name, panel in _panels()],
        commands=show_commands(resources.settings, FEATURES),
    )
    forget_lapsed(request, answer)
    return answer


def _panels() -> list[tuple[str, Panel]]:
    return [(feature.name, feature.panel) for feature in FEATURES if feature.panel is not None]


async def _load(request: Request, resources: Resources) -> Loaded:
    """Whatever the panels tell within the limit."""
    loaded = Loaded(insider=resources.settings.environment != "production")
    loading = asyncio.ensure_future(_fill(request, loaded))
    done, _ = await asyncio.wait({loading}, timeout=LIMIT)
    if not done:
        # Not awaited: the driver's own clean-up would wait for the frozen server again.
        loading.cancel()
        loading.add_done_callback(_retrieve)
    return Loaded(loaded.insider, dict(loaded.views))


async def _fill(request: Request, loaded: Loaded) -> None:
    """One after the other: a page takes one connection, however many panels there are."""
    try:
        visit = await visit_of(request)
        loaded.insider = loaded.insider or visit.token is not None
        for name, panel in _panels():
            loaded.views[name] = await panel.load(request)
    except Exception as error:  # noqa: BLE001 -- the page says what is missing; the log, why
        log.warning("panels_missing", code=as_app_error(error).code)


def _retrieve(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not report it as lost
