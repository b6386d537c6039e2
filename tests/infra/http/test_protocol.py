"""What a client may send before the application sees it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.http import protocol
from app.infra.http.protocol import MAX_FIELDS, MAX_HEAD, MAX_PIPELINED, LimitedProtocol
from tests.polling import eventually

GET = b"GET / HTTP/1.1\r\nHost: here\r\n"
PATIENCE = 20
MEGABYTE = 1_000_000

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the number of header lines, after the body."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d lines" % len(scope["headers"])})


@asynccontextmanager
async def serving(
    served: ASGIApp = application,
) -> AsyncIterator[tuple[uvicorn.Server, Connect]]:
    config = uvicorn.Config(served, port=0, http=LimitedProtocol, lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    async with asyncio.timeout(PATIENCE):
        yield server, lambda: asyncio.open_connection("127.0.0.1", port)
    await server.shutdown()


async def sent(connect: Connect, *parts: bytes) -> bytes:
    """Send everything, and return what came until the server closed the connection."""
    reader, writer = await connect()
    for part in parts:
        writer.write(part)
    received = await reader.read()
    writer.transport.abort()
    return received


class TestHead:
    """A head with too many lines or bytes hears 431, whatever it is made of."""

    async def test_as_many_lines_as_allowed(self) -> None:
        async with serving() as (_, connect):
            lines = b"a:\r\n" * (MAX_FIELDS - 2) + b"Connection: close\r\n\r\n"
            answer = await sent(connect, GET + lines)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"%d lines" % MAX_FIELDS in answer

    @pytest.mark.parametrize(
        "parts",
        [
            pytest.param([GET, b"a:\r\n" * MAX_FIELDS, b"\r\n"], id="one line too many"),
            pytest.param([GET, b"a:\r\n" * 245_000, b"\r\n"], id="a megabyte of lines"),
            pytest.param([GET, b"a: " + b"b" * MAX_HEAD + b"\r\n\r\n"], id="one line too long"),
            pytest.param([GET, b"a: ", *[b"b" * 50_000] * 40], id="one line without an end"),
            pytest.param([GET, b"b" * MEGABYTE], id="a name without an end"),
            pytest.param([b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\n"], id="a long URL"),
            pytest.param(
                [GET, b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a:\r\n" * MAX_FIELDS],
                id="lines behind the body",
            ),
            pytest.param(
                [GET, b"Transfer-Encoding: chunked\r\n\r\n0\r\na: ", *[b"b" * 50_000] * 40],
                id="a line behind the body without an end",
            ),
        ],
    )
    async def test_what_is_too_large(self, parts: list[bytes]) -> None:
        async with serving() as (_, connect):
            answer = await sent(connect, *parts)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert b"application/problem+json" in head
        assert json.loads(body)["code"] == "headers_too_large"

    async def test_each_request_of_a_connection_counts_for_itself(self) -> None:
        one = GET + b"a:\r\n" * (MAX_FIELDS // 2) + b"\r\n"
        async with serving() as (_, connect):
            answer = await sent(connect, one * 4 + GET + b"Connection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200 ") == 5

    async def test_a_slow_one_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
        async with serving() as (_, connect):
            assert await sent(connect) == b""
            assert await sent(connect, GET) == b""
            # The second head of a connection, too.
            assert (await sent(connect, GET + b"\r\n" + GET)).count(b"HTTP/1.1 ") == 1

    async def test_a_body_may_take_longer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
        async with serving() as (_, connect):
            reader, writer = await connect()
            writer.write(GET + b"Connection: close\r\nContent-Length: 1\r\n\r\n")
            await asyncio.sleep(0.3)
            writer.write(b"x")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()


class TestConnections:
    """One client can't hold any number of connections, or of requests on one."""

    async def test_requests_in_a_row(self) -> None:
        async with serving() as (_, connect):
            few = (GET + b"\r\n") * MAX_PIPELINED + GET + b"Connection: close\r\n\r\n"
            assert (await sent(connect, few)).count(b"HTTP/1.1 200 ") == MAX_PIPELINED + 1
            assert b"HTTP/1.1 400 " in await sent(connect, (GET + b"\r\n") * 10_000)

    @pytest.mark.parametrize("behind", [b"", GET + b"\r\n", GET + b"\r\n\x00"])
    async def test_a_request_hears_that_its_client_has_gone(self, behind: bytes) -> None:
        """Whatever the client sent behind it on the same connection."""
        heard: list[str] = []

        async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
            kinds = [(await receive())["type"] for _ in range(2)]
            heard.append(kinds[-1])

        async def told() -> bool:
            return heard == ["http.disconnect"]

        async with serving(waiting) as (_, connect):
            _, writer = await connect()
            writer.write(GET + b"\r\n" + behind)
            await asyncio.sleep(0.2)  # it is worked on, and the rest is parsed
            writer.transport.abort()
            await eventually("it hears that", told, seconds=PATIENCE)

    async def test_the_rest_hears_503(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
        async with serving() as (server, connect):
            held = [await connect() for _ in range(2)]

            async def accepted() -> bool:
                return len(server.server_state.connections) == len(held)

            await eventually("both are accepted", accepted, seconds=PATIENCE)
            refused = await sent(connect)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in refused
            for _, writer in held:
                writer.close()

            async def gone() -> bool:
                return not server.server_state.connections

            await eventually("both have gone", gone, seconds=PATIENCE)
            answer = await sent(connect, GET + b"Connection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")


class TestUnread:
    """A client that does not read its answers is dropped."""

    async def test_it_loses_its_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a" * 30 * MEGABYTE})

        monkeypatch.setattr(protocol, "READ_SECONDS", 0.2)
        async with serving(large) as (server, connect):
            _, writer = await connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket's transport
            writer.write(GET + b"\r\n")
            await asyncio.sleep(0.1)

            async def gone() -> bool:
                return not server.server_state.connections

            await eventually("it is dropped", gone)
            writer.transport.abort()
