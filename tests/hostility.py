"""Attacking a served process byte by byte, and judging how it took that."""

import json
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tests.served import Served

PATIENCE = 15.0  # seconds for a socket that says nothing
QUICKLY = 5.0  # seconds; an attack must not hold the process, and the machine may be loaded
PIECE = 65_536

SECRET = re.compile(r"[0-9a-f]{64}")  # nothing but a token's secret is that long
FAILURE = re.compile(r'"status":5|"level":"(error|critical)"')


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    after: bytes  # what the server sent behind this answer
    seconds: float

    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        return found


def message(
    method: str,
    target: bytes | str,
    *,
    headers: Mapping[str, str] | bytes = b"",
    body: bytes | None = None,
) -> bytes:
    """A request as it goes over the wire; nothing is checked or escaped. The Host is ours."""
    path = target.encode() if isinstance(target, str) else target
    head = [method.encode() + b" " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"]
    if isinstance(headers, bytes):
        head.append(headers)
    else:
        head += [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
    if body is not None:
        head.append(b"Content-Length: %d\r\n" % len(body))
    return b"".join([*head, b"\r\n", body or b""])


def attack(served: Served, parts: bytes | Iterable[bytes], *, listen: float = 0.0) -> Answer:
    """Send it all, or as much as the server takes, and read one answer.

    With `listen` wait these seconds for what else it sends.
    """
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as connection:
        try:
            for part in [parts] if isinstance(parts, bytes) else parts:
                for begin in range(0, len(part), PIECE):
                    connection.sendall(part[begin : begin + PIECE])
        except OSError:
            pass  # it has closed: its answer may still be there to read
        received = b""
        while (whole := _answer_in(received, started)) is None:
            more = connection.recv(PIECE)
            assert more, f"closed without a whole answer: {received[:200]!r}"
            received += more
        return Answer(**{**vars(whole), "after": whole.after + _overhear(connection, listen)})


def _overhear(connection: socket.socket, seconds: float) -> bytes:
    if not seconds:
        return b""
    connection.settimeout(seconds)
    try:
        return connection.recv(PIECE)
    except OSError:
        return b""


def _answer_in(received: bytes, started: float) -> Answer | None:
    head, found, rest = received.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    length = int(headers.get("content-length", 0))
    if len(rest) < length:
        return None
    status = int(first.split()[1])
    return Answer(status, headers, rest[:length], rest[length:], time.monotonic() - started)


def assert_refused(answer: Answer, status: int, code: str, field: str | None = None) -> None:
    """It was refused quickly, with a problem that names the field."""
    problem = answer.problem()
    assert (answer.status, problem["code"]) == (status, code), answer
    assert problem["status"] == status
    assert answer.seconds < QUICKLY
    if field is not None:
        assert field in {fault["field"] for fault in problem["errors"]}, problem


@contextmanager
def unharmed(served: Served) -> Iterator[None]:
    """The block leaves the process alive and well, and no secret in what it logs."""
    begin = len(served.logged())
    yield
    assert served.process.poll() is None
    logged = _settled(served)[begin:]
    assert FAILURE.search(logged) is None, logged[-4000:]
    assert SECRET.search(logged) is None
    assert "Bearer" not in logged
    for name in ("DATABASE_URL", "REDIS_URL"):
        assert str(urlsplit(served.environment[name]).password) not in logged


def _settled(served: Served) -> str:
    """The log, once everything before this moment is in it."""
    mark = uuid4().hex
    with served.client(token="") as client:
        client.get("/docs", headers={"X-Request-ID": mark}).raise_for_status()
    deadline = time.monotonic() + PATIENCE
    while mark not in served.logged():
        assert time.monotonic() < deadline, "the log does not go on"
        time.sleep(0.01)
    return served.logged()
