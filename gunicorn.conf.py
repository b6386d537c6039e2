"""How gunicorn serves the application. Change the service's settings instead of this file.

gunicorn kills and replaces a worker whose event loop is blocked; uvicorn's own supervisor does not.
"""

import gc
import sys

from app.config import ConfigurationError
from app.infra.telemetry import logging_config
from app.registry import load_settings

try:
    settings = load_settings()
except ConfigurationError as error:
    sys.exit(str(error))

wsgi_app = "app.main:create_app()"
worker_class = "app.infra.http.draining.DrainingWorker"
bind = "0.0.0.0:8000"
workers = settings.web_concurrency
# Several workers share the memory of what was imported before they were forked. A single worker
# shares nothing, and the supervisor would hold a second copy.
preload_app = workers > 1

timeout = 30  # seconds until a worker that does not answer its supervisor is killed and replaced
graceful_timeout = settings.shutdown_grace
# Longer than a proxy keeps an idle connection, so that the proxy closes it first.
keepalive = 75

# Workers write to a file here to show that they are alive. A slow disk would get them killed.
worker_tmp_dir = "/dev/shm"
control_socket_disable = True  # gunicornc, its command line client, is not used

loglevel = settings.log_level
logconfig_dict = logging_config(settings)


def pre_fork(_arbiter: object, _worker: object) -> None:
    """Hide the shared objects from the garbage collector, which would write to them."""
    gc.freeze()
