"""Who is at the other end."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.infra.http import peers
from app.infra.http.peers import TrustedProxies, client_network
from tests.conftest import MakeClient
from tests.logs import captured_logs, named


class TestNetwork:
    """Limits count an IPv4 address, and an IPv6 network of the size that one client gets."""

    @pytest.mark.parametrize(
        ("address", "network"),
        [
            ("198.51.100.7", "198.51.100.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("fe80::1%eth0", "fe80::/64"),
            ("a name", "a name"),
        ],
    )
    def test_of_an_address(self, address: str, network: str) -> None:
        assert client_network({"client": (address, 1)}) == network

    @pytest.mark.parametrize("scope", [{}, {"client": None}])
    def test_of_a_socket_without_one(self, scope: dict[str, Any]) -> None:
        assert client_network(scope) == "-"


async def logged_client(make_client: MakeClient, peer: str, *proxies: str) -> str:
    """Whom the service takes for the client of a request that `peer` forwards."""
    browser = make_client(peer=peer, trusted_proxies=proxies)
    with captured_logs() as events:
        await browser.get("/docs", headers={"X-Forwarded-For": "203.0.113.9"})
    return str(named(events, "request")[0]["client"])


class TestNames:
    """A proxy can have a name, whose addresses are looked up when they are needed."""

    async def test_its_addresses_are_trusted(self, make_client: MakeClient) -> None:
        assert await logged_client(make_client, "127.0.0.1", "localhost") == "203.0.113.9"
        assert await logged_client(make_client, "10.1.2.3", "localhost", "10.1.2.3") == (
            "203.0.113.9"
        )

    @pytest.mark.parametrize("name", ["localhost", "no-such-proxy.invalid"])
    async def test_no_other_address_is(self, make_client: MakeClient, name: str) -> None:
        assert await logged_client(make_client, "10.1.2.3", name) == "10.1.2.3"

    async def test_a_new_address_replaces_the_old_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(peers, "LOOKUP_SECONDS", 0.0)
        addresses = {"10.0.0.1"}
        seen: list[str] = []

        async def look_up(_name: str) -> set[str]:
            return set(addresses)

        async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
            seen.append(scope["client"][0])

        async def ask(peer: str) -> None:
            headers = [(b"x-forwarded-for", b"203.0.113.9")]
            scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": headers}
            await proxies(scope, receive, send)

        async def receive() -> Message:
            raise AssertionError

        async def send(_message: Message) -> None:
            raise AssertionError

        monkeypatch.setattr(peers, "_addresses", look_up)
        proxies = TrustedProxies(application, ["proxy"])
        await ask("10.0.0.1")
        addresses = {"10.0.0.2"}
        await ask("10.0.0.2")
        await ask("10.0.0.1")
        assert seen == ["203.0.113.9", "203.0.113.9", "10.0.0.1"]
