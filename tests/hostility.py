"""Attacking a served process byte by byte, and judging how it took that."""

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from tests.polling import PATIENCE, until
from tests.service import App

QUICKLY = 30.0  # seconds; an attack must not hold the process, and the machine may be loaded

SECRET = re.compile(r"[0-9a-f]{64}")  # nothing but a token's secret is that long
FAILURE = re.compile(r'"status":5|"level":"(error|critical)"')


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes
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


def attack(served: App, *parts: bytes) -> Answer:
    """Send it all, or as much as the server takes, and read one answer."""
    started = time.monotonic()
    with sent(served, *parts) as connection, HTTPResponse(connection) as response:
        response.begin()
        body = response.read()
        return Answer(response.status, response.headers, body, time.monotonic() - started)


@contextmanager
def sent(served: App, *parts: bytes) -> Iterator[socket.socket]:
    """A connection on which all of it was sent, or as much as the server took."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as connection:
        # A server that has closed may have answered before.
        with suppress(OSError):
            for part in parts:
                connection.sendall(part)
        yield connection


def assert_refused(answer: Answer, status: int, code: str, field: str | None = None) -> None:
    """It was refused quickly, with a problem that names the field."""
    problem = answer.problem()
    assert (answer.status, problem["code"]) == (status, code), answer
    assert problem["status"] == status
    assert answer.seconds < QUICKLY
    if field is not None:
        assert field in {fault["field"] for fault in problem["errors"]}, problem


@contextmanager
def unharmed(served: App) -> Iterator[None]:
    """The process must survive the block, and must not log a secret."""
    begin = len(served.output())
    yield
    assert served.is_running
    # Everything before this request is in the log once the request is.
    mark = uuid4().hex
    httpx.get(f"{served.url}/docs", headers={"X-Request-ID": mark}).raise_for_status()
    until(lambda: mark in served.output())
    logged = served.output()[begin:]
    failures = [line for line in logged.splitlines() if FAILURE.search(line)]
    assert not failures, failures[:10]
    assert SECRET.search(logged) is None
    assert "Bearer" not in logged
    for name in ("DATABASE_URL", "REDIS_URL"):
        assert str(urlsplit(served.environment[name]).password) not in logged
