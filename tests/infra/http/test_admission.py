"""How many requests a process works on at once, and how slowly a body may arrive."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config import Settings
from app.infra.http import admission
from app.infra.http.admission import Admission
from app.infra.http.middleware import RequestMiddleware
from app.infra.metrics import Metrics
from tests.conftest import MakeClient, MakeToken
from tests.polling import eventually
from tests.problems import check_problem

TOKENS = "/api/v1/tokens"
LIMIT = 4


class Held:
    """An application that answers when it is told to."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics(settings)
        self.released = asyncio.Event()
        self.at_work = 0
        self.admission = Admission(self._work, LIMIT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outermost = RequestMiddleware(self.admission, self.metrics, https=False)
        await outermost({**scope, "state": {}}, receive, send)

    async def working(self, number: int) -> None:
        """Wait until so many requests are at work."""

        async def reached() -> bool:
            return self.at_work == number

        await eventually(f"{number} are at work", reached, seconds=20)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.at_work += 1
        if scope["path"] == "/fails":
            raise RuntimeError
        if not scope["path"].startswith("/health"):
            await self.released.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


def client_at(address: str, app: ASGIApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://here")


class TestAtOnce:
    """A process works on so many requests; one address has half of them."""

    async def test_the_rest_hears_503_at_once(self, settings: Settings) -> None:
        held = Held(settings)
        one, two, three = (client_at(f"198.51.100.{number}", held) for number in range(3))
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            waiting = [group.create_task(one.get("/")) for _ in range(LIMIT // 2)]
            await held.working(LIMIT // 2)
            refused = await one.get("/")
            check_problem(refused, 503, "overloaded")
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["connection"] == "close"
            # Another address has its half.
            waiting += [group.create_task(two.get("/")) for _ in range(LIMIT // 2)]
            await held.working(LIMIT)
            check_problem(await three.get("/"), 503, "overloaded")
            # Probes are answered.
            assert (await three.get("/health/live")).status_code == 204
            assert (await three.get("/health")).status_code == 204
            held.released.set()
        assert [answer.result().status_code for answer in waiting] == [204] * LIMIT

    async def test_what_has_ended_holds_nothing(self, settings: Settings) -> None:
        held = Held(settings)
        held.released.set()
        client = client_at("2001:db8::1", held)
        for path in ["/", "/fails"] * LIMIT:
            assert (await client.get(path)).status_code == (500 if path == "/fails" else 204)
        assert (held.admission.at_work, dict(held.admission.by_client)) == (0, {})

    async def test_the_service_has_this_limit(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        client = make_client(max_concurrent_requests=1)
        client.headers["Authorization"] = f"Bearer {await make_token()}"
        at_work, enough = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            at_work.set()
            await enough.wait()
            yield b"{}"

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            waiting = group.create_task(client.post(TOKENS, content=body()))
            await at_work.wait()
            check_problem(await client.get("/docs"), 503, "overloaded")
            enough.set()
        assert waiting.result().status_code == 422
        assert (await client.get("/docs")).status_code == 200


class TestSlowBodies:
    """A body that arrives too slowly ends with 408; the time that the service takes is free."""

    async def test_crumbs(self, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(admission, "BODY_SECONDS", 0.2)

        async def crumbs() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        async with asyncio.timeout(20):
            answer = await api.post(TOKENS, content=crumbs())
        check_problem(answer, 408, "request_timeout")
        assert answer.headers["connection"] == "close"

    async def test_each_byte_earns_time(
        self, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admission, "BODY_SECONDS", 0.3)
        monkeypatch.setattr(admission, "BODY_RATE", 1)

        async def steadily() -> AsyncIterator[bytes]:
            yield b'{"name": "steady", '
            await asyncio.sleep(0.6)
            yield b'"scopes": ["tokens:write"]}'

        headers = {"Content-Type": "application/json"}
        answer = await api.post(TOKENS, content=steadily(), headers=headers)
        assert answer.status_code == 201
