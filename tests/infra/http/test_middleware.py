"""The request middleware: request id, log line, security headers, allowed hosts, proxies."""

import asyncio
import re

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.infra.http.middleware import PIECE, RequestMiddleware, add_middleware
from app.infra.metrics import Metrics
from tests.conftest import MakeClient
from tests.live import WithState, client_of
from tests.logs import captured_logs, named
from tests.problems import check_problem


def wrap(app: ASGIApp, settings: Settings) -> httpx.AsyncClient:
    """A client of some application inside the middleware of production."""
    return client_of(WithState(add_middleware(app, settings, Metrics(settings), []), {}))


class TestRequestId:
    """Each answer names the id under which the request was logged. No caller chooses it."""

    async def test_every_request_gets_a_new_one(self, client: httpx.AsyncClient) -> None:
        given = {"X-Request-ID": "of-another-request"}
        answers = [await client.get("/health/live", headers=given) for _ in range(2)]
        ids = {answer.headers["x-request-id"] for answer in answers}
        assert len(ids) == 2
        assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)

    @pytest.mark.parametrize(
        ("given", "logged"),
        [
            *(("request-1_A", True), ("x" * 64, True), ("", False), ("short", False)),
            *(("x" * 65, False), ("a b c d e f", False), ('quoted"quoted', False)),
            ("\x1b]52;c;cm0gLXJm", False),
        ],
    )
    async def test_the_callers_own_is_logged_beside_it(
        self, client: httpx.AsyncClient, given: str, *, logged: bool
    ) -> None:
        with captured_logs() as events:
            await client.get("/a", headers={b"X-Request-ID": given.encode()})
        (line,) = named(events, "request")
        assert line.get("client_request_id") == (given if logged else None)

    async def test_simultaneous_requests_keep_theirs(self, client: httpx.AsyncClient) -> None:
        with captured_logs() as events:
            answers = await asyncio.gather(*(client.get(f"/a/{one}") for one in range(20)))
        told = {answer.headers["x-request-id"]: answer.url.path for answer in answers}
        assert all(answer.json()["request_id"] in told for answer in answers)
        assert told == {event["request_id"]: event["path"] for event in named(events, "request")}


class TestPieces:
    """A large body goes to the server in pieces, so a client that reads slowly holds only one."""

    async def test_it(self, settings: Settings) -> None:
        body = bytes(range(256)) * 1000
        pieces: list[Message] = []

        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

        async def keep(message: Message) -> None:
            pieces.append(message)

        async with wrap(app, settings) as client:
            assert (await client.get("/")).content == body
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}
        await RequestMiddleware(app, Metrics(settings), https=False)(scope, no_body, keep)
        bodies = [message["body"] for message in pieces[1:]]
        assert b"".join(bodies) == body
        assert max(map(len, bodies)) == PIECE
        assert [message.get("more_body", False) for message in pieces[1:]] == [True] * 3 + [False]


async def no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


class TestLogLine:
    """Each request has one log line, without secrets. Health probes have none."""

    async def test_it_describes_the_request(self, client: httpx.AsyncClient) -> None:
        with captured_logs() as events:
            answer = await client.get("/api/v1/tokens?limit=3")
            for path in ("/health", "/health/ready", "/health/live"):
                await client.get(path)
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

    @pytest.mark.parametrize("path", ["/health/anything", "/health/live/", "/page/live/x"])
    async def test_beside_the_probes_everything_is_logged(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        with captured_logs() as events:
            answer = await client.get(path)
        assert answer.status_code == 404
        assert [event["path"] for event in named(events, "request")] == [path]

    async def test_no_token_is_logged(self, api: httpx.AsyncClient) -> None:
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
        check_problem(answer, 500, "internal_error")
        assert "secret" not in answer.text
        assert named(events, "request_failed")[0]["exc_info"]
        assert named(events, "request")[0]["log_level"] == "error"

    async def test_an_answer_that_has_begun_is_not_sent_twice(self, settings: Settings) -> None:
        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"so far", "more_body": False})
            raise RuntimeError

        with captured_logs() as events:
            answer = await wrap(broken, settings).get("/")
        assert (answer.status_code, answer.text) == (200, "so far")
        assert named(events, "request_failed")

    @pytest.mark.parametrize("kind", ["lifespan", "websocket"])
    async def test_other_protocols_pass_through(self, settings: Settings, kind: str) -> None:
        seen: list[str] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["type"])

        scope = {"type": kind, "headers": [(b"host", b"evil.example")], "client": None}
        await add_middleware(app, settings, Metrics(settings), [])(scope, None, None)  # type: ignore[arg-type] # never called
        assert seen == [kind]


class TestSecurityHeaders:
    """Every answer has the security headers."""

    @pytest.mark.parametrize("path", ["/health/live", "/api/v1/tokens", "/nowhere/at/all", "/"])
    async def test_they_are_on_each(self, make_client: MakeClient, path: str) -> None:
        headers = (await make_client(public_url="https://go.example.com").get(path)).headers
        (policy,) = headers.get_list("content-security-policy")
        assert policy.startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["strict-transport-security"] == "max-age=63072000"


class TestAllowedHosts:
    """A Host header that is not in ALLOWED_HOSTS is refused."""

    HOSTS = ("go.example.com", "*.wild.example", "[::1]")

    async def test_ours_are_served(self, make_client: MakeClient) -> None:
        any_host = make_client(allowed_hosts=("*",))
        answer = await any_host.get("/health/live", headers={"Host": "evil.example"})
        assert answer.status_code == 200
        client = make_client(allowed_hosts=self.HOSTS)
        for host in (
            *("go.example.com", "GO.example.com", "go.example.com:8443"),
            *("a.wild.example", "a.b.wild.example:80", "[::1]", "[::1]:8000"),
        ):
            answer = await client.get("/health/live", headers={"Host": host})
            assert answer.status_code == 200, host

    async def test_others_are_refused(self, make_client: MakeClient) -> None:
        client = make_client(allowed_hosts=self.HOSTS)
        for host in (
            *("evil.example", "go.example.com.evil.example", "xgo.example.com", ""),
            *("wild.example", "evilwild.example", "go.example.com:80:80", "[::2]"),
        ):
            answer = await client.get("/health/live", headers={"Host": host})
            problem = check_problem(answer, 400, "bad_request")
            assert "ALLOWED_HOSTS" in problem["detail"], host


class TestForwardedFor:
    """X-Forwarded-For counts if a trusted proxy sends it, and is ignored otherwise."""

    @pytest.mark.parametrize(
        ("peer", "proxies", "header", "client"),
        [
            ("198.51.100.1", (), "203.0.113.9", "198.51.100.1"),
            ("198.51.100.1", ("10.0.0.0/8",), "203.0.113.9", "198.51.100.1"),
            ("10.1.2.3", ("10.1.2.3",), "203.0.113.9", "203.0.113.9"),
            ("10.1.2.3", ("192.0.2.0/24", "10.0.0.0/8"), "203.0.113.9", "203.0.113.9"),
            # The last address is the proxy's. The client made up the first.
            ("10.1.2.3", ("10.0.0.0/8",), "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ],
    )
    async def test_who_is_logged_as_the_client(
        self,
        make_client: MakeClient,
        peer: str,
        proxies: tuple[str, ...],
        header: str,
        client: str,
    ) -> None:
        browser = make_client(peer=peer, trusted_proxies=proxies)
        with captured_logs() as events:
            await browser.get("/", headers={"X-Forwarded-For": header})
        assert named(events, "request")[0]["client"] == client
