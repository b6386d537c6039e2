"""Clients that only connect, or that leave, cost something while they are there, and no longer."""

import resource
from contextlib import ExitStack

import pytest

from app.infra.http.protocol import MAX_CONNECTIONS
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


class TestConnections:
    """The process survives them, and serves the next client."""

    def test_ten_thousand_that_ask_nothing(self, served: App) -> None:
        with unharmed(served), served.growing_at_most(MEGABYTES):
            with ExitStack() as held:
                kept = [held.enter_context(sent(served)) for _ in range(most_connections())]
                assert attack(served, message("GET", ALIVE)).status == 503
                assert len(kept) > MAX_CONNECTIONS
            until(lambda: attack(served, message("GET", ALIVE)).status == 200)

    def test_thousands_that_leave(self, served: App) -> None:
        """At each point of a request, and with others behind it on the same connection."""
        body = b'{"name": "x", "scopes": ["tokens:write"]}'
        create = message("POST", TOKENS, headers=served.authorization, body=body)
        whole = [message("GET", "/"), message("GET", TOKENS, headers=served.authorization), create]
        left = [request[:size] for request in whole for size in (1, 30, len(request) - 1)]
        left += [*whole, whole[0] * 10, whole[1] + create, create * 3]
        before = served.files()
        with unharmed(served):
            for number in range(3_000):
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
