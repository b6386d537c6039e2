"""GET /: a page for people that says what this service is and whether each part of it works.

Monitors ask /health instead. In production the page tells strangers only which parts work; people
with a token also see latencies and reasons.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from app.features.tokens.auth import known_visit, visit_of
from app.features.tokens.browser import forget_invalid
from app.health import Health, shows_details
from app.home.view import headline, show_checks, show_commands
from app.infra.feature import Panel
from app.infra.http.peers import client_network
from app.infra.http.problems import as_app_error
from app.infra.lifespan import Resources
from app.infra.page.render import PREFIX, PageRoute, page
from app.infra.probes import Status, finish_within
from app.registry import FEATURES

log = structlog.get_logger(__name__)

TEMPLATES = Path(__file__).parent / "templates"

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.api_route("/", methods=["GET", "HEAD"])
@router.api_route(f"{PREFIX}/live", methods=["GET", "HEAD"])
async def home(request: Request) -> Response:
    """`/page/live` answers the same page: an open page polls it, and the log leaves it out."""
    resources: Resources = request.state.resources
    health: Health = request.state.health
    resources.limiter.hit("read", client_network(request.scope))
    views: dict[str, Mapping[str, Any]] = {}
    report, _ = await asyncio.gather(
        health.report(), finish_within(Panel.LIMIT, _load_panels(request, views))
    )
    checks = show_checks(report)
    answer = page(
        request,
        "home/home.html",
        environment=resources.settings.environment,
        version=report.version,
        show_details=shows_details(resources.settings, known_visit(request).caller),
        headline=headline(checks),
        works=all(check.status is Status.OK for check in checks),
        checks=checks,
        panels=[(name, panel, views.get(name)) for name, panel in _panels()],
        commands=show_commands(resources.settings, FEATURES),
    )
    forget_invalid(request, answer)
    return answer


def _panels() -> list[tuple[str, Panel]]:
    return [(feature.name, feature.panel) for feature in FEATURES if feature.panel is not None]


async def _load_panels(request: Request, views: dict[str, Mapping[str, Any]]) -> None:
    """Add what each panel shows to `views`. A panel that fails, and those after it, are absent.

    The panels are loaded one by one, so that a page takes one database connection at a time.
    """
    try:
        await visit_of(request)
        for name, panel in _panels():
            views[name] = await panel.load(request)
    except Exception as error:  # noqa: BLE001 -- the page says that panels are missing
        log.warning("panels_missing", code=as_app_error(error).code)
