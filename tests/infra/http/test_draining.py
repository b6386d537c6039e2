"""A web process that stops answers the requests that have reached its port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.infra.http.draining import LINGER, DrainingServer
from tests.polling import PATIENCE, eventually

POST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nhi"
CLIENTS = 5

Connect = Callable[[uvicorn.Server, int], Awaitable[list[socket.socket]]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"got " + body})


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A server on a socket of its own, such as gunicorn gives to its workers, and its port."""
    config = uvicorn.Config(application, http="httptools", lifespan="off", log_config=None)
    config.load()
    server = DrainingServer(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        yield server, port
        # As serve() does when it is told to stop.
        await server.shutdown([listener])


def send(port: int, message: bytes) -> socket.socket:
    """Connect and send while the event loop stands still: only the kernel accepts."""
    client = socket.create_connection(("127.0.0.1", port), 5)
    client.sendall(message)
    return client


def answer(client: socket.socket) -> bytes:
    with client:
        try:
            return client.makefile("rb").read()
        except ConnectionError as error:
            return repr(error).encode()


async def in_the_queue(server: uvicorn.Server, port: int) -> list[socket.socket]:
    """Clients that connected before the stop and were not accepted until then."""
    return [send(port, POST) for _ in range(CLIENTS)]


async def not_read_yet(server: uvicorn.Server, port: int) -> list[socket.socket]:
    """Clients that were accepted, and whose request comes while the process stops."""
    clients = [send(port, b"") for _ in range(CLIENTS)]

    async def accepted() -> bool:
        return len(server.server_state.connections) == CLIENTS

    await eventually("every client is accepted", accepted)
    for client in clients:
        client.sendall(POST)
    return clients


async def stop(connect: Connect) -> list[bytes]:
    """What the clients get, and a late one that connects after the process stopped listening."""
    late: list[bytes] = []

    def come_late(port: int) -> None:
        try:
            late.append(answer(send(port, POST)))
        except ConnectionRefusedError:
            late.append(b"refused")

    async with asyncio.timeout(PATIENCE):
        async with serving() as (server, port):
            clients = await connect(server, port)
            asyncio.get_running_loop().call_later(LINGER / 2, come_late, port)
        return [await asyncio.to_thread(answer, client) for client in clients] + late


class TestStop:
    """Each request that reached the port before it was closed is answered."""

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    @pytest.mark.parametrize("connect", [in_the_queue, not_read_yet])
    def test_it_is_answered_and_a_later_one_is_refused(
        self, connect: Connect, loop: Literal["asyncio", "uvloop"]
    ) -> None:
        factory = uvicorn.Config(application, loop=loop).get_loop_factory()
        with asyncio.Runner(loop_factory=factory) as runner:
            *answers, late = runner.run(stop(connect))
        assert [b"got hi" in answer for answer in answers] == [True] * CLIENTS, answers
        assert late == b"refused"
