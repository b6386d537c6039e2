"""gunicorn in the image. What an operator may change is a setting of the service, not of this file.

gunicorn rather than uvicorn alone: it replaces a worker whose event loop is blocked, which
uvicorn's own supervisor never notices.
"""

import gc
import sys
from typing import Any, ClassVar

from app.config import ConfigurationError, Settings
from app.infra.http.draining import DrainingWorker
from app.infra.telemetry import library_logging

try:
    settings = Settings.load()
except ConfigurationError as error:
    sys.exit(str(error))

wsgi_app = "app.main:create_app()"
bind = "0.0.0.0:8000"
workers = settings.web_concurrency

# The application is imported once and shared by the workers: faster to start, smaller together.
# Nothing connects and no thread starts before the fork.
preload_app = True

# Seconds until a worker that does not answer its supervisor is killed and replaced.
timeout = 30
graceful_timeout = settings.shutdown_grace
# Longer than a proxy keeps an idle connection, so that it is never we who close one in use.
keepalive = 75

# Its file must not be on a disk that may be slow: a stalled write looks like a hung worker.
worker_tmp_dir = "/dev/shm"
# Nobody talks to it here, and it needs a home directory that can be written to.
control_socket_disable = True

# The service configures all logging, its server's included.
logconfig_dict = library_logging(settings)


class worker_class(DrainingWorker):  # noqa: N801 -- gunicorn looks for this name
    """uvicorn's worker without what the service does itself."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        **DrainingWorker.CONFIG_KWARGS,
        "access_log": False,
        # Peers are judged by the service (TRUSTED_PROXIES), not by the server in front of it.
        "proxy_headers": False,
        "server_header": False,
        "ws": "none",
    }


def pre_fork(_arbiter: object, _worker: object) -> None:
    """What was loaded before the fork stays shared: the collector never touches it again."""
    gc.freeze()
