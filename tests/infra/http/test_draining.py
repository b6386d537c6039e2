"""A web process that is told to stop answers what had reached its port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.infra.http.draining import LINGER, DrainingServer
from tests.polling import eventually

POST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nhi"
CLIENTS = 5

Loop = Literal["asyncio", "uvloop"]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"got " + body})


@asynccontextmanager
async def serving(kind: type[uvicorn.Server]) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A server on a socket of its own, as gunicorn hands one to its workers; yield its port."""
    config = uvicorn.Config(application, http="httptools", lifespan="off", log_config=None)
    config.load()
    server = kind(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        yield server, port
        # As serve() does when it is told to stop.
        await server.shutdown([listener])


def send(port: int, message: bytes) -> socket.socket:
    """Connect and send without giving the event loop a turn: the kernel alone takes it."""
    client = socket.create_connection(("127.0.0.1", port), 5)
    client.sendall(message)
    return client


def answer(client: socket.socket) -> bytes:
    with client:
        try:
            return client.makefile("rb").read()
        except ConnectionError as error:
            return repr(error).encode()


async def in_the_queue(kind: type[uvicorn.Server]) -> list[bytes]:
    """What clients hear that connected before the stop and were not accepted until then."""
    async with serving(kind) as (_, port):
        clients = [send(port, POST) for _ in range(CLIENTS)]
    return [await asyncio.to_thread(answer, client) for client in clients]


async def not_read_yet(kind: type[uvicorn.Server]) -> list[bytes]:
    """What clients hear that were accepted, and whose request comes while the process stops."""
    async with serving(kind) as (server, port):
        clients = [send(port, b"") for _ in range(CLIENTS)]

        async def accepted() -> bool:
            return len(server.server_state.connections) == CLIENTS

        await eventually("every client is accepted", accepted, seconds=10)
        for client in clients:
            client.sendall(POST)
    return [await asyncio.to_thread(answer, client) for client in clients]


async def a_late_client(kind: type[uvicorn.Server]) -> list[bytes]:
    """What clients hear that connect once the process has stopped listening."""
    late: list[bytes] = []

    def look(port: int) -> None:
        try:
            late.append(answer(send(port, POST)))
        except ConnectionRefusedError:
            late.append(b"refused")

    async with serving(kind) as (_, port):
        asyncio.get_running_loop().call_later(LINGER / 2, look, port)
    return late


def run(case: Callable[[type[uvicorn.Server]], Awaitable[list[bytes]]], loop: Loop) -> list[bytes]:
    async def bounded() -> list[bytes]:
        async with asyncio.timeout(20):
            return await case(DrainingServer)

    factory = uvicorn.Config(application, loop=loop).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(bounded())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
class TestStop:
    """Nothing that reached the port before it was closed is lost, whatever had been read of it."""

    def test_what_waits_to_be_accepted_is_answered(self, loop: Loop) -> None:
        answers = run(in_the_queue, loop)
        assert [b"got hi" in answer for answer in answers] == [True] * CLIENTS, answers

    def test_what_was_accepted_and_not_read_is_answered(self, loop: Loop) -> None:
        answers = run(not_read_yet, loop)
        assert [b"got hi" in answer for answer in answers] == [True] * CLIENTS, answers

    def test_who_comes_later_is_refused_at_once(self, loop: Loop) -> None:
        assert run(a_late_client, loop) == [b"refused"]
