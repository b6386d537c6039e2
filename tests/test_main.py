"""The composition: the start, its faults, and what a feature may have."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config import Settings
from app.infra.feature import CatchAllRouter, Feature, UploadRouter
from app.infra.lifespan import Resources, ResourcesDep
from app.main import create_app
from tests.live import ROOT, run_service, started
from tests.logs import captured_logs, named

FORBIDDEN_AT_IMPORT = """
import sys

def refuse(event, arguments):
    if event in {"socket.connect", "socket.bind", "socket.getaddrinfo"}:
        raise SystemExit(f"{event}{arguments}")

sys.addaudithook(refuse)
import app.cli, app.main, app.worker
"""


class TestImport:
    """Importing the service does no I/O and asks for no settings."""

    def test_all_entry_points_import_without_either(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", FORBIDDEN_AT_IMPORT],
            check=False,
            cwd=ROOT,
            env=dict(os.environ),
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestStart:
    """A start reads the settings, opens everything, and refuses what can't work."""

    async def test_pools_that_exceed_the_server_are_refused(self, own_settings: Settings) -> None:
        settings = own_settings.model_copy(update={"database_pool_size": 50, "replicas": 2})
        with pytest.raises(
            Exception, match=r"^259 connections may be needed, but Postgres allows 97"
        ):
            async with run_service(settings):
                pass

    async def test_metrics_are_not_on_the_public_port(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/metrics")).status_code == 404

    async def test_start_and_stop_are_logged_with_the_version(self, own_settings: Settings) -> None:
        app = create_app(own_settings.model_copy(update={"git_sha": "0a1b2c3"}))
        with captured_logs() as events:
            async with started(app):
                (start,) = named(events, "started")
                assert (start["process"], start["version"]) == ("drydock-web", "0a1b2c3")
                assert not named(events, "stopping")
        assert named(events, "stopping")


@asynccontextmanager
async def launch(resources: Resources) -> AsyncIterator[list[str]]:
    """The runtime of the feature of these tests."""
    events = ["launched"]
    yield events
    # Redis is still open here: it is closed later.
    await resources.redis.ping()
    events.append("sunk")


class Harbour:
    """An edge: answers /edge/…, and passes everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/edge/"):
            await PlainTextResponse("from the edge")(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@pytest.fixture
def ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service with one small feature that brings everything a feature may bring."""
    routes, uploads, last = APIRouter(), UploadRouter(), CatchAllRouter()

    @routes.get("/ship")
    async def ship(resources: ResourcesDep) -> Any:
        return resources.features["ships"]

    @routes.post("/note")
    @uploads.post("/cargo")
    async def weigh(request: Request) -> int:
        return len(await request.body())

    @last.get("/{anything}")
    async def catch(anything: str) -> str:
        return f"caught {anything}"

    feature = Feature(name="ships", routers=[last, routes, uploads], runtime=launch, edge=Harbour)
    monkeypatch.setattr("app.main.FEATURES", (feature,))


@pytest.mark.usefixtures("ships")
class TestFeature:
    """A feature may have routes, an edge and a runtime."""

    async def test_what_it_holds_lives_as_long_as_the_service(self, own_settings: Settings) -> None:
        async with run_service(own_settings) as service:
            assert (await service.client.get("/ship")).json() == ["launched"]
            events: Any = service.resources.features["ships"]
        assert events == ["launched", "sunk"]

    async def test_its_catch_all_takes_what_nobody_else_wants(self, own_settings: Settings) -> None:
        async with run_service(own_settings) as service:
            assert (await service.client.get("/submarine")).json() == "caught submarine"
            for path in ("/ship", "/docs", "/openapi.json", "/health"):
                assert "caught" not in (await service.client.get(path)).text

    async def test_its_edge_answers_within_the_middleware(self, own_settings: Settings) -> None:
        async with run_service(own_settings) as service:
            with captured_logs() as events:
                answer = await service.client.get("/edge/1")
            refused = await service.client.get("/edge/1", headers={"Host": "evil.example"})
        assert answer.text == "from the edge"
        assert answer.headers["x-content-type-options"] == "nosniff"
        request_id = answer.headers["x-request-id"]
        assert [event["request_id"] for event in named(events, "request")] == [request_id]
        assert refused.status_code == 400

    async def test_its_uploads_may_be_larger_than_other_bodies(
        self, own_settings: Settings
    ) -> None:
        settings = own_settings.model_copy(
            update={"max_body_bytes": 1024, "max_upload_bytes": 4096}
        )
        async with run_service(settings) as service:
            for path, size, status in (
                *(("/note", 1024, 200), ("/note", 1025, 413)),
                *(("/cargo", 4096, 200), ("/cargo", 4096 + 1024 + 1, 413)),
            ):
                answer = await service.client.post(path, content=b"x" * size)
                assert (path, size, answer.status_code) == (path, size, status)
