"""Clients that only connect, or that leave, cost something while they are there, and no longer."""

import json
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any
from uuid import UUID

import pytest

from app.infra.http.protocol import MAX_CONNECTIONS, MAX_REFUSED
from tests.hostility import attack, message, sent, unharmed
from tests.polling import until
from tests.service import App

TOKENS = "/api/v1/tokens"
ALIVE = "/health/live"
MEGABYTES = 100  # that ten thousand connections may cost at their peak: twice what was measured
POOLED = 20  # connections that the service opens to Postgres and Redis, and keeps


def most_connections() -> int:
    """Ten thousand, or what this machine lets a process open."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    return 10_000 if files == resource.RLIM_INFINITY else min(10_000, files - 500)


def requests(served: App, document: dict[str, Any]) -> Iterator[bytes]:
    """One to each endpoint. Most of those that take a body accept this one."""
    for path in ("/", "/docs", "/openapi.json"):
        yield message("GET", path)
    for template, operations in document["paths"].items():
        path = template.format_map(Named())
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if not content:
                yield message(method.upper(), path, headers=served.authorization)
            for kind, described in content.items():
                body = json.dumps(example(described["schema"], document)).encode()
                headers = {**served.authorization, "Content-Type": kind}
                yield message(method.upper(), path, headers=headers, body=body)


class Named(dict[str, str]):
    """A value for each variable of a path."""

    def __missing__(self, name: str) -> str:
        return str(UUID(int=0)) if name.endswith("_id") else "example"


def example(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """The shortest value that the schema allows, its patterns aside."""
    while "$ref" in schema or "anyOf" in schema:
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = document["components"]["schemas"][name] if name else schema["anyOf"][0]
    match schema:
        case {"enum": [first, *_]} | {"const": first}:
            return first
        case {"type": "object"}:
            fields = schema.get("properties", {})
            return {name: example(fields[name], document) for name in schema.get("required", [])}
        case {"type": "array"}:
            return [example(schema["items"], document)]
        case {"type": "integer" | "number"}:
            return schema.get("minimum", 1)
        case {"type": "boolean"}:
            return True
    return "https://example.com/" if schema.get("format") == "uri" else "x"


def phases(request: bytes) -> Iterator[bytes]:
    """What a client has sent when it leaves: a part, all of it, or others behind it too."""
    head = request.index(b"\r\n\r\n") + 4
    for size in (1, 30, head - 1, head, len(request) - 1, len(request)):
        yield request[:size]
    yield request * 3
    yield request + message("GET", ALIVE) + request


class TestConnections:
    """The process survives them, and serves the next client."""

    def test_ten_thousand_that_ask_nothing(self, served: App) -> None:
        """All but a few of those that it refuses are closed at once: it needs its files."""
        before, files = served.files(), []
        with unharmed(served), served.growing_at_most(MEGABYTES):
            with ExitStack() as held:
                for _ in range(MAX_CONNECTIONS):
                    held.enter_context(sent(served))
                assert attack(served, message("GET", ALIVE)).status == 503
                for number in range(most_connections() - MAX_CONNECTIONS):
                    held.enter_context(sent(served))
                    if number % 50 == 0:
                        files.append(served.files())
            until(lambda: attack(served, message("GET", ALIVE)).status == 200)
        assert median(files) <= before + MAX_CONNECTIONS + MAX_REFUSED + POOLED

    def test_thousands_that_leave(self, served: App) -> None:
        """At each point of a request to each endpoint."""
        with served.client() as client:
            document = client.get("/openapi.json").json()
        left = [part for request in requests(served, document) for part in phases(request)]
        before = served.files()
        with unharmed(served):
            for number in range(max(3_000, len(left))):
                with sent(served, left[number % len(left)]):
                    pass
        until(lambda: served.files() <= before + POOLED)


class TestExpect:
    """A client that waits before it sends its body hears at once if it is too large."""

    @pytest.mark.parametrize(("size", "status"), [(50, 100), (10**9, 413)])
    def test_what_it_hears(self, served: App, size: int, status: int) -> None:
        headers = {
            **served.authorization,
            "Content-Type": "application/json",
            "Content-Length": str(size),
            "Expect": "100-continue",
        }
        with sent(served, message("POST", TOKENS, headers=headers)) as connection:
            heard = connection.recv(65_536)
        assert heard.startswith(b"HTTP/1.1 %d " % status)
