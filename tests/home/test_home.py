"""The page at /: what it says to whom, whatever works at that moment, and what it may load."""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.infra.feature import Feature
from app.infra.lifespan import Resources
from app.infra.probes import LIMIT
from app.infra.queue import beat
from app.registry import FEATURES
from tests.conftest import MakeClient, MakeToken
from tests.live import run_service
from tests.pages import Page
from tests.sockets import frozen_server, unused_port, with_postgres_at, with_redis_at

PRODUCTION = {"environment": "production", "public_url": "https://go.example.com"}


async def read(client: httpx.AsyncClient, path: str = "/") -> Page:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


class TestAnswer:
    """It is HTML, kept by nobody, and the same without a body for HEAD."""

    async def test_it_is_a_page_that_nobody_keeps(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.text.startswith("<!doctype html>")

    async def test_head_has_the_same_headers(self, client: httpx.AsyncClient) -> None:
        head, whole = await client.head("/"), await client.get("/")
        assert head.status_code == 200
        for name in ("content-type", "cache-control", "content-security-policy"):
            assert head.headers[name] == whole.headers[name]

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    async def test_it_takes_nothing(self, client: httpx.AsyncClient, method: str) -> None:
        assert (await client.request(method, "/")).status_code == 405

    async def test_it_is_limited_by_address(self, make_client: MakeClient) -> None:
        async with make_client(rate_limit_read="2/minute") as client:
            statuses = [(await client.get("/")).status_code for _ in range(3)]
            refused = await client.get("/")
        assert statuses == [200, 200, 429]
        assert refused.headers["content-type"].startswith("text/html")
        assert int(refused.headers["retry-after"]) > 0

    async def test_open_pages_ask_at_an_address_of_their_own(
        self, client: httpx.AsyncClient
    ) -> None:
        body = (await read(client)).one("body")
        assert body.attributes["data-live"] == "/page/live"
        live = await read(client, "/page/live")
        assert {part.attributes["id"] for part in live.elements if "data-part" in part.attributes}


class TestPolicy:
    """The page runs and loads only its own files."""

    async def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(
        self, client: httpx.AsyncClient
    ) -> None:
        policy = (await client.get("/")).headers["content-security-policy"]
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives["default-src"] == "'none'"
        for name in ("script-src", "style-src", "img-src", "connect-src", "form-action"):
            assert directives[name] == "'self'"
        assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
        assert directives["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in policy
        assert "//" not in policy

    async def test_nothing_stands_inline_or_comes_from_elsewhere(
        self, client: httpx.AsyncClient
    ) -> None:
        page = await read(client)
        for element in page.active():
            assert element.attributes["src"].startswith("/static/")
        for element in page.elements:
            for name in ("src", "href", "action"):
                assert re.match(r"[/#](?!/)", element.attributes.get(name, "/")), element

    async def test_every_file_that_it_names_is_served_and_kept(
        self, client: httpx.AsyncClient
    ) -> None:
        page = await read(client)
        addresses = {element.attributes["src"] for element in page.active()}
        addresses |= {element.attributes["href"] for element in page.all("link")}
        assert len(addresses) == 3
        for address in addresses:
            answer = await client.get(address)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]


class TestDevelopment:
    """In development everybody sees everything about the service, but no data."""

    async def test_it_says_what_runs_here_and_how_it_fares(
        self, client: httpx.AsyncClient, resources: Resources
    ) -> None:
        await beat(resources.redis)
        page = await read(client)
        assert "Everything works." in page.text
        assert "development" in page.text
        for name in ("Postgres", "Schema", "Redis", "Worker"):
            assert re.search(rf"{name} works [\d.]+ ms", page.text), page.text
        assert len(page.has_class("chart")) == 2
        assert page.all("a", href="/docs")

    async def test_three_commands_are_shown_with_the_address_filled_in(
        self, client: httpx.AsyncClient
    ) -> None:
        page = await read(client)
        assert len(page.all("code", **{"data-copy": "the command"})) >= 3
        assert "{url}" not in page.text

    async def test_a_worker_that_is_missing_is_named(self, client: httpx.AsyncClient) -> None:
        page = await read(client)
        assert "Worker needs attention." in page.text
        assert "Jobs wait. Nothing is lost." in page.text
        assert "worker last seen: never" in page.text


class TestProduction:
    """In production a stranger learns which parts work, and nothing else."""

    async def test_a_stranger_sees_no_figures_and_no_reasons(self, make_client: MakeClient) -> None:
        async with make_client(**PRODUCTION) as client:
            page = await read(client)
        assert "Worker degraded" in page.text
        assert "last seen" not in page.text
        assert not re.search(r"\d ms", page.text)
        assert not page.has_class("chart")
        assert "make test" not in page.text
        assert ".local" not in page.text

    async def test_a_token_shows_them(self, make_client: MakeClient, make_token: MakeToken) -> None:
        async with make_client(**PRODUCTION) as client:
            client.cookies["__Host-drydock"] = await make_token()
            page = await read(client)
        assert "last seen: never" in page.text
        assert len(page.has_class("chart")) == 2

    async def test_an_invalid_token_shows_nothing(self, make_client: MakeClient) -> None:
        async with make_client(**PRODUCTION) as client:
            client.cookies["__Host-drydock"] = "drydock_" + "0" * 32 + "_" + "0" * 64
            page = await read(client)
        assert not page.has_class("chart")
        assert "is no longer valid" in page.text


class TestAway:
    """Whatever is away, the page comes, soon, and says so."""

    async def test_without_postgres(self, own_settings: Settings) -> None:
        async with run_service(with_postgres_at(own_settings, unused_port())) as service:
            service.client.cookies["drydock-80"] = "drydock_" + "0" * 32 + "_" + "0" * 64
            page = await read(service.client)
        assert "Postgres unavailable" in page.text
        assert "OperationalError" in page.text
        assert "127.0.0.1:" not in page.text
        assert "Not available at the moment." in page.text

    async def test_in_production_a_failing_postgres_opens_nothing(
        self, own_settings: Settings
    ) -> None:
        settings = with_postgres_at(own_settings, unused_port()).model_copy(update=PRODUCTION)
        async with run_service(settings) as service:
            service.client.cookies["__Host-drydock"] = "drydock_" + "0" * 32 + "_" + "0" * 64
            page = await read(service.client)
        assert "Postgres unavailable" in page.text
        assert "OperationalError" not in page.text
        assert not page.has_class("chart")

    async def test_without_redis(self, own_settings: Settings) -> None:
        async with run_service(with_redis_at(own_settings, unused_port())) as service:
            page = await read(service.client)
        assert "Redis unavailable" in page.text
        assert "This process alone, since Redis does not answer" in page.text

    async def test_frozen_servers_cost_no_more_than_a_health_check(
        self, own_settings: Settings
    ) -> None:
        with frozen_server() as port:
            settings = with_redis_at(with_postgres_at(own_settings, port), port)
            settings = settings.model_copy(update={"redis_timeout": 0.1})
            async with run_service(settings) as service:
                service.client.cookies["drydock-80"] = "drydock_" + "0" * 32 + "_" + "0" * 64
                await service.client.get("/docs")
                started = time.monotonic()
                page = await read(service.client)
                elapsed = time.monotonic() - started
        assert "Postgres, Schema, Redis and Worker need attention." in page.text
        assert elapsed < 2 * LIMIT  # as in test_health: two loaded cores


@pytest.fixture
def berth() -> Feature:
    """A feature whose panel shows no template of its own, but another's."""
    return next(feature for feature in FEATURES if feature.panel is not None)


class TestPanels:
    """A panel that fails or takes too long is said to be missing; nothing else is."""

    @staticmethod
    def replace_load(monkeypatch: pytest.MonkeyPatch, feature: Feature, load: Any) -> None:
        assert feature.panel is not None
        changed = replace(feature, panel=replace(feature.panel, load=load))
        monkeypatch.setattr("app.home.router.FEATURES", (changed,))

    async def test_one_that_fails(
        self, client: httpx.AsyncClient, berth: Feature, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(_request: Any) -> Mapping[str, Any]:
            raise LookupError("secret")

        self.replace_load(monkeypatch, berth, fail)
        page = await read(client)
        assert "Not available at the moment." in page.text
        assert "secret" not in page.text
        assert "Postgres works" in page.text

    async def test_one_that_hangs(
        self, client: httpx.AsyncClient, berth: Feature, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = asyncio.Event()

        async def hang(_request: Any) -> Mapping[str, Any]:
            try:
                await asyncio.sleep(60)
            finally:
                gone.set()
            return {}

        monkeypatch.setattr("app.home.router.LIMIT", 0.05)
        self.replace_load(monkeypatch, berth, hang)
        page = await read(client)
        assert "Not available at the moment." in page.text
        await asyncio.wait_for(gone.wait(), 5)

    async def test_none_at_all(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.home.router.FEATURES", ())
        page = await read(client)
        assert "Postgres works" in page.text
        assert not page.has_class("panel")
        assert len(page.has_class("command")) == 3
