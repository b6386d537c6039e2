"""The first request of a process finds everything loaded, so it does not hold up the others."""

import json
import subprocess
import sys
from typing import Any

from app.config import Settings
from tests.live import ROOT
from tests.service import environment_for, first_token

# In a process of its own, without httpx: both may have loaded what this is about.
SCRIPT = """
import asyncio, json, sys

from app.main import create_app

token, *paths = sys.argv[1:]
app = create_app()

async def ask(state, path):
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        answers.append(message)

    answers = []
    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + token.encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "state": dict(state),
    }
    await app(scope, receive, send)
    return answers[0]["status"]

async def main():
    told, answers, state = asyncio.Queue(), asyncio.Queue(), {}
    told.put_nowait({"type": "lifespan.startup"})
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    running = asyncio.create_task(app(scope, told.get, answers.put))
    assert (await answers.get())["type"] == "lifespan.startup.complete"
    found = {}
    for path in paths:
        before = set(sys.modules)
        status = await ask(state, path)
        found[path] = [status, sorted(set(sys.modules) - before)]
    told.put_nowait({"type": "lifespan.shutdown"})
    await running
    print(json.dumps(found))

asyncio.run(main())
"""


def first_requests(settings: Settings, *paths: str) -> dict[str, Any]:
    """The status of each path in a new process, and the modules that its request has loaded."""
    environment = environment_for(settings.database_dsn, settings.redis_dsn, LOG_LEVEL="error")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, first_token(settings), *paths],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_first_request_loads_a_module(own_settings: Settings) -> None:
    paths = ["/api/v1/tokens", "/openapi.json", "/docs", "/health", "/nowhere/at/all"]
    found = first_requests(own_settings, *paths)
    assert found == {path: [404 if "nowhere" in path else 200, []] for path in paths}
