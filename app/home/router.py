"""GET /: a page for people that says what this service is and whether each part of it works.

Monitors ask /health instead. In production the page tells strangers only which parts work; people
with a token also see latencies and reasons.
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
from app.home.view import headline, show_checks, show_commands
from app.infra.feature import Panel
from app.infra.http.problems import as_app_error
from app.infra.lifespan import Resources
from app.infra.page.render import PREFIX, PageRoute, page
from app.infra.probes import finish_within
from app.registry import FEATURES

log = structlog.get_logger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
CHECKS = ("postgres", "migrations", "redis", "worker")
LIMIT = 1.5  # seconds for all panels together, as long as a health check may take

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass
class Loaded:
    """What the panels returned in time, by template. A panel that failed is absent."""

    insider: bool
    views: dict[str, Mapping[str, Any]] = field(default_factory=dict)


@router.api_route("/", methods=["GET", "HEAD"])
@router.api_route(f"{PREFIX}/live", methods=["GET", "HEAD"])
async def home(request: Request) -> Response:
    """`/page/live` answers the same page: an open page polls it, and the log leaves it out."""
    resources: Resources = request.state.resources
    health: Health = request.state.health
    await resources.limiter.hit("read", request.client.host if request.client else "-")
    report, loaded = await asyncio.gather(health.report(*CHECKS), _load(request, resources))
    checks = show_checks(report)
    answer = page(
        request,
        "home/home.html",
        environment=resources.settings.environment,
        version=report.version,
        insider=loaded.insider,
        headline=headline(checks),
        checks=checks,
        panels=[(name, panel, loaded.views.get(name)) for name, panel in _panels()],
        commands=show_commands(resources.settings, FEATURES),
    )
    forget_lapsed(request, answer)
    return answer


def _panels() -> list[tuple[str, Panel]]:
    return [(feature.name, feature.panel) for feature in FEATURES if feature.panel is not None]


async def _load(request: Request, resources: Resources) -> Loaded:
    loaded = Loaded(insider=resources.settings.environment != "production")
    await finish_within(LIMIT, _fill(request, loaded))
    # A copy: a task that was given up may still add to the original.
    return Loaded(loaded.insider, dict(loaded.views))


async def _fill(request: Request, loaded: Loaded) -> None:
    """Load one panel after the other, so that a page takes one database connection at a time."""
    try:
        visit = await visit_of(request)
        loaded.insider = loaded.insider or visit.token is not None
        for name, panel in _panels():
            loaded.views[name] = await panel.load(request)
    except Exception as error:  # noqa: BLE001 -- the page says that panels are missing
        log.warning("panels_missing", code=as_app_error(error).code)
