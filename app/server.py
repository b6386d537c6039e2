"""What gunicorn loads (gunicorn.conf.py)."""

import sys

from gunicorn.arbiter import Arbiter
from starlette.types import ASGIApp

from app.config import ConfigurationError
from app.main import create_app


def load_app() -> ASGIApp:
    """The application. With unusable settings, gunicorn ends with one message and exit code 4."""
    try:
        return create_app()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        # After this exit code gunicorn does not start the worker again.
        sys.exit(Arbiter.APP_LOAD_ERROR)
