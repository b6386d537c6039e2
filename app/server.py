"""How gunicorn serves the application: what its supervisor needs, and how a worker begins.

The supervisor is a process that lives as long as the service and does next to nothing. So this
module imports gunicorn and little else; each worker imports uvicorn and the application itself.
"""

import gc
import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# What the service does itself, or does not want.
UVICORN_OPTIONS: dict[str, Any] = {
    "access_log": False,
    # Peers are judged by the service (TRUSTED_PROXIES), not by the server in front of it.
    "proxy_headers": False,
    "server_header": False,
    "ws": "none",
}


class LateWorker(Worker):  # type: ignore[misc] # untyped
    """uvicorn's worker, made in the process that it will run in.

    gunicorn makes its worker objects before it forks, and uvicorn's would be imported with it:
    4 MB that the supervisor then holds for good.
    """

    def init_process(self) -> None:
        from app.infra.http.draining import DrainingWorker

        class Serving(DrainingWorker):
            CONFIG_KWARGS = {**DrainingWorker.CONFIG_KWARGS, **UVICORN_OPTIONS}  # noqa: RUF012 -- its type is uvicorn_worker's

        serving = Serving(
            self.age, self.ppid, self.sockets, self.app, self.timeout, self.cfg, self.log
        )
        serving.pid = self.pid
        # The file whose time tells the supervisor that this process is not hung.
        serving.tmp.close()
        serving.tmp = self.tmp
        try:
            serving.init_process()
        finally:
            self.booted = serving.booted  # who fails later is replaced, who fails before ends all


def load_app() -> "ASGIApp":
    """The application. Settings that can't be used end gunicorn with one message and code 4."""
    # Nothing of what is loaded is garbage: to look for some takes a tenth of the start.
    gc.disable()
    from app.config import ConfigurationError
    from app.registry import load_settings

    try:
        settings = load_settings()
    except ConfigurationError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(Arbiter.APP_LOAD_ERROR)  # the code by which a worker says: don't try again
    from app.main import create_app

    app = create_app(settings)
    gc.enable()
    return app


class JsonLines(logging.Formatter):
    """The supervisor's few lines, in the form of `infra.telemetry` and without what that loads."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": time,
            "logger": record.name,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def supervisor_logging(environment: Mapping[str, str]) -> dict[str, Any]:
    """Logging until a worker, or whoever loads the application, configures it anew."""
    form = environment.get("LOG_FORMAT", "auto")
    if form == "auto":
        form = "json" if environment.get("ENVIRONMENT") == "production" else "console"
    return {
        "formatters": {
            "json": {"()": JsonLines},
            "console": {"format": "%(asctime)s [%(levelname)s] %(message)s"},
        },
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "json" if form == "json" else "console",
            }
        },
        "root": {"handlers": ["stdout"]},
        "loggers": {"gunicorn.error": {"handlers": ["stdout"], "propagate": False}},
    }
