"""How many requests a process works on at once, and how slowly their bodies may arrive.

Each request at work holds memory. Without a limit, a thousand clients that send their bodies in
crumbs fill the container.
"""

import asyncio
from collections import Counter

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Overloaded, RequestTimeout
from app.infra.http.peers import client_network
from app.infra.http.problems import problem_response

# A client may take ten seconds to send a body, and a second more for each 8 KiB that has arrived.
BODY_SECONDS = 10.0
BODY_RATE = 8192
# Health checks are answered however busy the process is.
ALWAYS = "/health/"


class Admission:
    """Works on at most `limit` requests, half of them from one address; the rest hear 503."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit
        self.share = max(1, limit // 2)
        self.at_work = 0
        self.by_client: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or f"{scope['path']}/".startswith(ALWAYS):
            await self.app(scope, receive, send)
            return
        client = client_network(scope)
        if self.at_work >= self.limit or self.by_client[client] >= self.share:
            await _refuse(scope, receive, send)
            return
        self.at_work += 1
        self.by_client[client] += 1
        try:
            await self.app(scope, BodyInTime(receive) if has_body(scope) else receive, send)
        finally:
            self.at_work -= 1
            self.by_client[client] -= 1
            if not self.by_client[client]:
                del self.by_client[client]


class BodyInTime:
    """Receives a body, and ends with 408 if its client is too slow.

    Only the time spent waiting for the client counts, not what the service does in between.
    """

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.left = BODY_SECONDS
        self.complete = False

    async def __call__(self) -> Message:
        if self.complete:
            return await self.receive()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self.left):
                message = await self.receive()
        except TimeoutError:
            # FastAPI passes on HTTPException alone while it reads a body.
            raise HTTPException(RequestTimeout.status, headers={"Connection": "close"}) from None
        self.left += len(message.get("body", b"")) / BODY_RATE - (loop.time() - started)
        self.complete = not message.get("more_body", False)
        return message


def has_body(scope: Scope) -> bool:
    """Whether the request announces a body. Without one of these headers HTTP has none."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = Overloaded("The service is busy. Try again.")
    # Closing the connection spares the server a body that it will not use.
    error.headers["Connection"] = "close"
    await problem_response(error, scope["state"]["request_id"])(scope, receive, send)
