"""The page at /: what it shows to whom, while parts of the service are down, and its security."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.infra.feature import Panel
from app.infra.lifespan import Resources
from app.infra.queue import write_heartbeat
from app.registry import FEATURES
from tests.conftest import MakeClient, MakeToken
from tests.live import run_service
from tests.pace import within
from tests.pages import Page
from tests.polling import PATIENCE
from tests.sockets import frozen_server, unused_port, with_postgres_at, with_redis_at
from tests.test_first_request import first_requests

HEALTH_LIMIT = 2.0  # seconds
PRODUCTION = {"environment": "production", "public_url": "https://go.example.com"}
UNKNOWN_SESSION = "0" * 64


async def read(client: httpx.AsyncClient, path: str = "/") -> Page:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


class TestAnswer:
    """The page is not cached, is limited, and loads its own files only."""

    async def test_it_is_limited_by_address(self, make_client: MakeClient) -> None:
        async with make_client(rate_limit_read="2/minute") as client:
            statuses = [(await client.get("/")).status_code for _ in range(3)]
            refused = await client.get("/")
        assert statuses == [200, 200, 429]
        assert refused.headers["content-type"].startswith("text/html")
        assert int(refused.headers["retry-after"]) > 0

    async def test_head_has_the_headers_of_get_and_polling_gets_the_same_page(
        self, client: httpx.AsyncClient
    ) -> None:
        head, whole = await client.head("/"), await client.get("/")
        assert whole.headers["cache-control"] == "no-store"
        assert head.status_code == 200
        for name in ("content-type", "cache-control", "content-security-policy"):
            assert head.headers[name] == whole.headers[name]
        live = await read(client, Page(whole.text).one("body").attributes["data-live"])
        assert {part.attributes["id"] for part in live.elements if "data-part" in part.attributes}

    async def test_every_file_that_it_loads_is_its_own(self, client: httpx.AsyncClient) -> None:
        page = await read(client)
        loaded = {element.attributes["src"] for element in page.active()}
        loaded |= {element.attributes["href"] for element in page.all("link")}
        for address in loaded:
            assert address.startswith("/static/")
            answer = await client.get(address)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
        for element in page.elements:
            for name in ("src", "href", "action"):
                assert re.match(r"[/#](?!/)", element.attributes.get(name, "/")), element

    def test_the_first_request_loads_nothing(self, own_settings: Settings) -> None:
        assert first_requests(own_settings, "/") == {"/": [200, []]}


class TestDetails:
    """Everybody sees which parts work. In production, latencies and reasons need a token."""

    async def test_in_development_everybody_sees_them(
        self, client: httpx.AsyncClient, resources: Resources
    ) -> None:
        await write_heartbeat(resources.redis)
        page = await read(client)
        assert "Everything works." in page.text
        for name in ("Postgres", "Schema", "Redis", "Worker"):
            assert re.search(rf"{name} works [\d.]+ ms", page.text), page.text
        assert "revision" in page.text
        assert "{url}" not in page.text

    @pytest.mark.parametrize("cookies", [{}, {"__Host-drydock": UNKNOWN_SESSION}])
    async def test_in_production_a_stranger_does_not(
        self, make_client: MakeClient, cookies: dict[str, str]
    ) -> None:
        async with make_client(**PRODUCTION) as client:
            client.cookies.update(cookies)
            page = await read(client)
        assert "Worker degraded" in page.text
        assert "Jobs wait. Nothing is lost." in page.text
        assert "last seen" not in page.text
        assert not re.search(r"\d ms", page.text)
        assert "make test" not in page.text  # it needs a clone of the repository
        assert ("is no longer valid" in page.text) is bool(cookies)

    async def test_in_production_a_token_shows_them(
        self, make_client: MakeClient, make_session: MakeToken
    ) -> None:
        async with make_client(**PRODUCTION) as client:
            client.cookies["__Host-drydock"] = await make_session()
            page = await read(client)
        assert "last seen: never" in page.text


class TestAway:
    """While Postgres or Redis is down, the page answers in time and says so."""

    @pytest.mark.parametrize("production", [False, True])
    async def test_without_postgres(self, own_settings: Settings, *, production: bool) -> None:
        settings = with_postgres_at(own_settings, unused_port())
        if production:
            settings = settings.model_copy(update=PRODUCTION)
        async with run_service(settings) as service:
            service.client.cookies["__Host-drydock"] = UNKNOWN_SESSION
            service.client.cookies["drydock-80"] = UNKNOWN_SESSION
            page = await read(service.client)
        assert "Postgres unavailable" in page.text
        assert "Not available at the moment." in page.text
        assert "127.0.0.1:" not in page.text
        assert ("OperationalError" in page.text) is not production

    async def test_frozen_servers_cost_no_more_than_a_health_check(
        self, own_settings: Settings
    ) -> None:
        with frozen_server() as port:
            settings = with_redis_at(with_postgres_at(own_settings, port), port)
            settings = settings.model_copy(update={"redis_timeout": 0.1})
            async with run_service(settings) as service:
                service.client.cookies["drydock-80"] = UNKNOWN_SESSION
                await service.client.get("/docs")  # the first request of an app is slow
                with within(HEALTH_LIMIT) as stopwatch, stopwatch.measure("the page"):
                    page = await read(service.client)
        assert "Postgres, Schema, Redis and Worker need attention." in page.text


class TestPanels:
    """A panel that fails or takes too long is shown as missing."""

    @pytest.mark.parametrize("hangs", [True, False])
    async def test_the_rest_of_the_page_is_shown(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
    ) -> None:
        ended = asyncio.Event()

        async def load(_request: Any) -> Mapping[str, Any]:
            try:
                if hangs:
                    await asyncio.sleep(60)
                raise LookupError("secret")
            finally:
                ended.set()

        (feature, *_) = [feature for feature in FEATURES if feature.panel is not None]
        assert feature.panel is not None
        changed = replace(feature, panel=replace(feature.panel, load=load))
        monkeypatch.setattr("app.home.router.FEATURES", (changed,))
        if hangs:
            monkeypatch.setattr(Panel, "LIMIT", 0.05)
        page = await read(client)
        assert "Not available at the moment." in page.text
        assert "secret" not in page.text
        assert "Postgres works" in page.text
        await asyncio.wait_for(ended.wait(), PATIENCE)
