"""`python -m dev.serve`: the app under uvicorn, as development and tests run it.

It accepts further options of uvicorn. `--reload` restarts the app when a file under app/ changes.
`python -m dev.serve worker` does the same for the worker.
"""

import shlex
import sys

import uvicorn
from watchfiles import PythonFilter, run_process

# The service reads X-Forwarded-For itself, logs each request itself and speaks no WebSocket.
OPTIONS = (
    "--factory",
    "--http=app.infra.http.protocol:LimitedProtocol",
    "--no-access-log",
    "--no-proxy-headers",
    "--no-server-header",
    "--ws=none",
)
# How long a reload waits for the old process. A browser may keep an event stream open, and a worker
# may be in the middle of a job.
STOP_SECONDS = 3
RELOAD = ("--reload-dir=app", f"--timeout-graceful-shutdown={STOP_SECONDS}")


def main(words: list[str]) -> None:
    """Run until SIGTERM or Ctrl-C."""
    if words[:1] == ["worker"]:
        worker = shlex.join([sys.executable, "-m", "app", "worker"])
        run_process(
            "app",
            target=worker,
            target_type="command",
            watch_filter=PythonFilter(),
            sigint_timeout=STOP_SECONDS,
        )
    else:
        reload = RELOAD if "--reload" in words else ()
        uvicorn.main(["app.main:create_app", *OPTIONS, *reload, *words])


if __name__ == "__main__":
    main(sys.argv[1:])
