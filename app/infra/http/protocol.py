"""uvicorn's HTTP protocol with limits on what a client may send before the application sees it.

httptools limits the URL and nothing else. A header section of a megabyte, in lines of four bytes,
costs 30 MB. A proxy may refuse it earlier, but not every service has one.
"""

import asyncio
import json
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

MAX_FIELDS = 100  # header lines of a request, as Apache and gunicorn allow
MAX_HEAD = 65_536  # bytes of URL and header lines; the proxy of compose.yaml allows a quarter of it
MAX_PIPELINED = 16  # requests that wait behind another one of the same connection
MAX_CONNECTIONS = 900  # of a process; many systems allow it 1,024 open files
MAX_REFUSED = 30  # connections beyond them that hear why they are refused; more are only closed
HEAD_SECONDS = 30.0  # for a request's head to arrive
READ_SECONDS = 30.0  # for a client to take what waits for it, once the kernel's buffers are full
LINGER = 1.0  # seconds in which a client that still sends can read why it was refused

REFUSALS = {
    400: ("bad_request", "The request can't be read", "It is not valid HTTP."),
    431: (
        "headers_too_large",
        "The header section is too large",
        f"At most {MAX_FIELDS} header lines and {MAX_HEAD} bytes are allowed.",
    ),
    503: ("overloaded", "Too many requests at once", "Too many connections are open. Try again."),
}


class HeadTooLargeError(Exception):
    """Tells the parser to stop."""


class LimitedProtocol(HttpToolsProtocol):
    """Answers 431 to a large head, closes a slow one, and limits connections and pipelining.

    It drops a client that does not read its answers.
    """

    _fields = 0  # header lines of this request, trailers included
    _size = 0  # bytes of its URL and header lines
    _unparsed = 0  # bytes that the parser has kept since it last called back
    _in_head = True
    _too_large = False
    _refused = False
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    # The request that the application works on. uvicorn keeps only the last one that was parsed.
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS + MAX_REFUSED:
            self._refused = True
            transport.abort()  # it would hold an open file, and the process needs some itself
        elif len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503)
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_has_arrived()
        self._has_read()
        self._tell_that_the_client_has_gone()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            # Not close(), which would wait until the client has read the rest.
            self._unread = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._has_read()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MAX_HEAD and not self._refused:
            self._refuse(431)  # one header line, or one of a chunk, that does not end
        elif self._in_head and self._deadline is None:
            self._await_head()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many pipelined requests")
        super().on_message_begin()
        self._in_head = True
        self._fields = self._size = self._unparsed = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_has_arrived()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- uvicorn's signature
        self._refuse(431 if self._too_large else 400)

    def _count(self, size: int) -> None:
        self._unparsed = 0
        self._size += size
        if self._size > MAX_HEAD or self._fields > MAX_FIELDS:
            self._too_large = True
            raise HeadTooLargeError

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_has_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _has_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, status: int) -> None:
        """Answer, read no further, and close as soon as the client could read the answer."""
        self._refused = True
        self._head_has_arrived()
        running = self._running
        if running is None or running.response_complete or not running.response_started:
            self.transport.write(_answer(status))
        self._tell_that_the_client_has_gone()
        self.pipeline.clear()
        self.flow.resume_reading()  # what it still sends: unread, it would reset the connection
        self.loop.call_later(LINGER, self.transport.close)

    def _tell_that_the_client_has_gone(self) -> None:
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()


def _answer(status: int) -> bytes:
    """A problem document without a request id, since no log line has one."""
    code, title, detail = REFUSALS[status]
    problem: dict[str, Any] = {
        "type": f"urn:problem-type:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    body = json.dumps(problem).encode()
    head = [
        STATUS_LINE[status],
        b"content-type: application/problem+json\r\n",
        b"content-length: %d\r\n" % len(body),
        b"retry-after: 1\r\n" if status == 503 else b"",  # noqa: PLR2004 -- as above
        b"connection: close\r\n\r\n",
    ]
    return b"".join([*head, body])
