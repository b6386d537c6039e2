"""How gunicorn serves the application. Change the service's settings instead of this file.

gunicorn kills and replaces a worker whose event loop is blocked; uvicorn's own supervisor does not.

gunicorn's supervisor reads this file before anything checks the settings. If a value is invalid,
this uses the default, and the application refuses the value later (app/server.py).
"""

import gc
import os

from app.infra.logs import logging_config


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return max(1, int(value)) if value.isdecimal() else default


def _bind() -> str:
    """Where to listen. An IPv6 address stands in brackets; [::] also takes IPv4."""
    address = os.environ.get("LISTEN_ADDRESS") or "0.0.0.0"
    host = f"[{address}]" if ":" in address and not address.startswith("[") else address
    return f"{host}:{_number('PORT', 8000)}"


def _json_logs() -> bool:
    """As `Settings.json_logs`."""
    form = os.environ.get("LOG_FORMAT") or "auto"
    return form == "json" or (form == "auto" and os.environ.get("ENVIRONMENT") == "production")


wsgi_app = "app.server:load_app()"
worker_class = "app.infra.http.draining.DrainingWorker"
bind = _bind()
workers = _number("WEB_CONCURRENCY", 1)
# Several workers share the memory of what was imported before they were forked. A single worker
# shares nothing, and the supervisor would hold a second copy.
preload_app = workers > 1

timeout = 30  # seconds until a worker that does not answer its supervisor is killed and replaced
graceful_timeout = _number("SHUTDOWN_GRACE", 25)
# Longer than a proxy keeps an idle connection, so that the proxy closes it first.
keepalive = 75

# Workers write to a file here to show that they are alive. A slow disk would get them killed.
worker_tmp_dir = "/dev/shm"
control_socket_disable = True  # gunicornc, its command line client, is not used

loglevel = os.environ.get("LOG_LEVEL") or "info"
logconfig_dict = logging_config(loglevel, json=_json_logs())


def pre_fork(_arbiter: object, _worker: object) -> None:
    """Hide the shared objects from the garbage collector, which would write to them."""
    gc.freeze()
