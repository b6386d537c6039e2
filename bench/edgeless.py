"""The service without its features' edges: every request goes through FastAPI."""

from starlette.types import ASGIApp

from app.config import Settings
from app.infra.http.middleware import surround
from app.infra.telemetry import configure_logging
from app.main import create_api


def create_app() -> ASGIApp:
    """As `app.main.create_app`, which would take the edges along."""
    settings = Settings.load()
    configure_logging(settings)
    return surround(create_api(settings), settings, edges=())
