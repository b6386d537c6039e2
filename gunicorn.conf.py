"""gunicorn in the image. What an operator may change is a setting of the service, not of this file.

gunicorn rather than uvicorn alone: it replaces a worker whose event loop is blocked, which
uvicorn's own supervisor never notices.
"""

import gc
import os

from app.server import supervisor_logging


def _whole_number(name: str, default: int) -> int:
    """A setting that gunicorn needs before anything checked it. What is wrong the worker tells."""
    given = os.environ.get(name, "")
    return max(1, int(given)) if given.isdecimal() else default


wsgi_app = "app.server:load_app()"
worker_class = "app.server.LateWorker"
bind = "0.0.0.0:8000"
workers = _whole_number("WEB_CONCURRENCY", 1)

# Several workers share what was imported before they were forked. With one, its supervisor would
# hold the application a second time: a worker copies a third of it in its first second, because
# counting a reference writes to the object. Nothing connects and no thread starts before the fork.
preload_app = workers > 1

# Seconds until a worker that does not answer its supervisor is killed and replaced.
timeout = 30
graceful_timeout = _whole_number("SHUTDOWN_GRACE", 25)
# Longer than a proxy keeps an idle connection, so that it is never we who close one in use.
keepalive = 75

# Its file must not be on a disk that may be slow: a stalled write looks like a hung worker.
worker_tmp_dir = "/dev/shm"
# Nobody talks to it here, and it needs a home directory that can be written to.
control_socket_disable = True

loglevel = os.environ.get("LOG_LEVEL", "info")
logconfig_dict = supervisor_logging(os.environ)


def pre_fork(_arbiter: object, _worker: object) -> None:
    """What was loaded before the fork stays shared: the collector never touches it again."""
    gc.freeze()
