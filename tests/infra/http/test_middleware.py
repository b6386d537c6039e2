"""The request middleware: request id, log line, security headers, allowed hosts, proxies."""

import asyncio
import re

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config import Settings
from app.infra.http.middleware import add_middleware
from tests.conftest import MakeClient
from tests.live import WithState, client_of
from tests.logs import captured_logs, named

PROBLEM = "application/problem+json"


def wrap(app: ASGIApp, settings: Settings, *, peer: str = "127.0.0.1") -> httpx.AsyncClient:
    """A client of some application inside the middleware of production."""
    return client_of(WithState(add_middleware(app, settings, []), {}), peer=peer)


class TestRequestId:
    """Each answer names the id under which the request was logged."""

    async def test_it_is_made_for_each_request(self, client: httpx.AsyncClient) -> None:
        ids = {(await client.get("/health/live")).headers["x-request-id"] for _ in range(10)}
        assert len(ids) == 10
        assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)

    async def test_one_that_the_client_gives_is_kept(self, client: httpx.AsyncClient) -> None:
        given = "trace-0123_ABC"
        answer = await client.get("/nowhere/at/all", headers={"X-Request-ID": given})
        assert answer.headers.get_list("x-request-id") == [given]
        assert answer.json()["request_id"] == given

    @pytest.mark.parametrize(
        "given", ["short", "x" * 65, "a b c d e f", 'quoted"quoted', "æøåæøåæø"]
    )
    async def test_one_that_could_harm_the_log_is_replaced(
        self, client: httpx.AsyncClient, given: str
    ) -> None:
        answer = await client.get("/health/live", headers={b"X-Request-ID": given.encode()})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])

    async def test_requests_at_the_same_time_keep_theirs_apart(
        self, client: httpx.AsyncClient
    ) -> None:
        given = [f"request-{number}" for number in range(20)]
        with captured_logs() as events:
            answers = await asyncio.gather(
                *(client.get(f"/a/{one}", headers={"X-Request-ID": one}) for one in given)
            )
        assert [answer.json()["request_id"] for answer in answers] == given
        logged = {event["request_id"]: event["path"] for event in named(events, "request")}
        assert logged == {one: f"/a/{one}" for one in given}


class TestLogLine:
    """Each request has one log line, with its path, its status and its duration."""

    async def test_it_has_all_that_matters(self, client: httpx.AsyncClient) -> None:
        with captured_logs() as events:
            answer = await client.get("/api/v1/tokens?limit=3")
        (line,) = named(events, "request")
        assert line.pop("duration_ms") > 0
        assert line == {
            "event": "request",
            "log_level": "info",
            "request_id": answer.headers["x-request-id"],
            "method": "GET",
            "path": "/api/v1/tokens",
            "status": 401,
            "client": "127.0.0.1",
        }

    @pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live"])
    async def test_probes_are_not_logged_at_info(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        with captured_logs() as events:
            await client.get(path)
        assert not named(events, "request")

    async def test_no_token_is_in_it(self, api: httpx.AsyncClient) -> None:
        secret = api.headers["authorization"].removeprefix("Bearer ")
        with captured_logs() as events:
            await api.get("/api/v1/tokens")
            await api.get("/api/v1/tokens", headers={"Authorization": f"Bearer {secret}x"})
        assert events
        assert secret.rpartition("_")[2] not in str(events)


class TestLastBoundary:
    """An error outside all handlers is logged, and answered if nothing was sent yet."""

    async def test_it_is_answered_with_500(self, settings: Settings) -> None:
        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            raise RuntimeError("SELECT secret FROM internals")

        with captured_logs() as events:
            answer = await wrap(broken, settings).get("/")
        assert answer.status_code == 500
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["code"] == "internal_error"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "secret" not in answer.text
        assert named(events, "request_failed")[0]["exc_info"]
        assert named(events, "request")[0]["status"] == 500
        assert named(events, "request")[0]["log_level"] == "error"

    async def test_what_had_begun_is_not_answered_twice(self, settings: Settings) -> None:
        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"so far", "more_body": False})
            raise RuntimeError

        with captured_logs() as events:
            answer = await wrap(broken, settings).get("/")
        assert (answer.status_code, answer.text) == (200, "so far")
        assert named(events, "request_failed")


class TestOtherProtocols:
    """Lifespan events and WebSockets pass through unchanged."""

    @pytest.mark.parametrize("kind", ["lifespan", "websocket"])
    async def test_it_reaches_the_application(self, settings: Settings, kind: str) -> None:
        seen: list[Scope] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope)

        async def silent(*_: object) -> None:
            raise AssertionError

        scope = {"type": kind, "headers": [(b"host", b"evil.example")], "client": None}
        await add_middleware(app, settings, [])(scope, silent, silent)  # type: ignore[arg-type] # never called
        assert [found["type"] for found in seen] == [kind]


class TestSecurityHeaders:
    """Every answer has the security headers."""

    @pytest.mark.parametrize("path", ["/health/live", "/api/v1/tokens", "/nowhere/at/all", "/"])
    async def test_they_are_on_each(self, client: httpx.AsyncClient, path: str) -> None:
        headers = (await client.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "strict-transport-security" not in headers

    async def test_https_asks_browsers_to_stay_there(self, make_client: MakeClient) -> None:
        answer = await make_client(public_url="https://go.example.com").get("/health/live")
        assert answer.headers["strict-transport-security"] == "max-age=63072000"

    async def test_an_answers_own_policy_stands_alone(self, client: httpx.AsyncClient) -> None:
        policies = (await client.get("/docs")).headers.get_list("content-security-policy")
        assert len(policies) == 1
        assert "script-src 'self'" in policies[0]


class TestAllowedHosts:
    """A Host header that is not in ALLOWED_HOSTS is refused."""

    HOSTS = ("go.example.com", "*.wild.example", "[::1]")

    @pytest.mark.parametrize(
        "host",
        [
            *("go.example.com", "GO.example.com", "go.example.com:8443"),
            *("a.wild.example", "a.b.wild.example:80", "[::1]", "[::1]:8000"),
        ],
    )
    async def test_ours_are_served(self, make_client: MakeClient, host: str) -> None:
        client = make_client(allowed_hosts=self.HOSTS)
        assert (await client.get("/health/live", headers={"Host": host})).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            *("evil.example", "go.example.com.evil.example", "xgo.example.com", ""),
            *("wild.example", "evilwild.example", "go.example.com:80:80", "[::2]"),
        ],
    )
    async def test_others_are_a_problem(self, make_client: MakeClient, host: str) -> None:
        client = make_client(allowed_hosts=self.HOSTS)
        answer = await client.get("/health/live", headers={"Host": host})
        assert answer.status_code == 400
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "ALLOWED_HOSTS" in answer.json()["detail"]

    async def test_a_star_allows_any(self, make_client: MakeClient) -> None:
        client = make_client(allowed_hosts=("*",))
        assert (await client.get("/health/live", headers={"Host": "any"})).status_code == 200


class TestForwardedFor:
    """X-Forwarded-For counts if a trusted proxy sends it, and is ignored otherwise."""

    FORGED = {"X-Forwarded-For": "203.0.113.9"}  # noqa: RUF012 -- never changed

    async def client_seen(self, client: httpx.AsyncClient) -> str:
        with captured_logs() as events:
            await client.get("/", headers=self.FORGED)
        client_logged: str = named(events, "request")[0]["client"]
        return client_logged

    async def test_a_stranger_can_not_choose_an_address(self, make_client: MakeClient) -> None:
        for proxies in ((), ("10.0.0.0/8",)):
            client = make_client(peer="198.51.100.1", trusted_proxies=proxies)
            assert await self.client_seen(client) == "198.51.100.1"

    @pytest.mark.parametrize("proxies", [("10.1.2.3",), ("192.0.2.0/24", "10.0.0.0/8")])
    async def test_a_proxy_tells_it(
        self, make_client: MakeClient, proxies: tuple[str, ...]
    ) -> None:
        client = make_client(peer="10.1.2.3", trusted_proxies=proxies)
        assert await self.client_seen(client) == "203.0.113.9"

    async def test_what_a_stranger_tells_the_proxy_is_not_believed(
        self, make_client: MakeClient
    ) -> None:
        client = make_client(peer="10.1.2.3", trusted_proxies=("10.0.0.0/8",))
        with captured_logs() as events:
            await client.get("/", headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.1"})
        assert named(events, "request")[0]["client"] == "198.51.100.1"

    async def test_a_client_without_address_is_logged_as_none(self, settings: Settings) -> None:
        app = WithState(add_middleware(FastAPI(), settings, []), {})

        async def nameless(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "client": None}, receive, send)

        with captured_logs() as events:
            await client_of(nameless).get("/")
        assert named(events, "request")[0]["client"] is None
