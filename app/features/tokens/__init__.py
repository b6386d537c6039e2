"""Tokens: who may use the API, and for what. Copy this feature to start your own."""

from pathlib import Path

from app.features.tokens.browser import router as browser_router
from app.features.tokens.known import NAME, open_runtime
from app.features.tokens.panel import load_panel
from app.features.tokens.router import router
from app.features.tokens.settings import TokensSettings
from app.features.tokens.tasks import purge_sessions
from app.infra.feature import Cron, Feature, Panel, Work
from app.infra.http.idempotency import purge_keys

feature = Feature(
    name=NAME,
    settings=TokensSettings,
    routers=(router, browser_router),
    panel=Panel("Access", Path(__file__).parent / "templates", load_panel),
    work=Work(crons=(Cron(purge_sessions, "29 * * * *"), Cron(purge_keys, "47 * * * *"))),
    runtime=open_runtime,
)
