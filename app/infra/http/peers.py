"""Who is at the other end: the client behind a trusted proxy, and the network that limits use."""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Sequence
from functools import lru_cache

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.config import HOST_NAME

log = structlog.get_logger(__name__)

LOOKUP_SECONDS = 1.0  # the time limit of a lookup, and the least time between two


def client_network(scope: Scope) -> str:
    """What limits count by: an IPv4 address, or the /64 that one client has of IPv6."""
    client = scope.get("client")
    return _network(client[0]) if client else "-"


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


class TrustedProxies:
    """uvicorn's ProxyHeadersMiddleware, with proxies that have addresses, networks or names.

    A request with X-Forwarded-For from an address that is not known leads to a lookup of the names.
    So a proxy may start later than the service, and come back with another address.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        self.app = app
        self.names = [proxy for proxy in proxies if HOST_NAME.fullmatch(proxy)]
        self.fixed = [proxy for proxy in proxies if not HOST_NAME.fullmatch(proxy)]
        self.addresses: set[str] = set()  # those of the names
        self.headers = self._trusting()
        self.looked_up = -LOOKUP_SECONDS
        self.lookup = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.names and scope["type"] == "http" and self._is_unknown(scope):
            async with self.lookup:
                if time.monotonic() - self.looked_up >= LOOKUP_SECONDS and self._is_unknown(scope):
                    await self._look_up()
        await self.headers(scope, receive, send)  # type: ignore[arg-type] # uvicorn's own ASGI types

    def _trusting(self) -> ProxyHeadersMiddleware:
        trusted = [*self.fixed, *self.addresses]
        return ProxyHeadersMiddleware(self.app, trusted)  # type: ignore[arg-type] # as above

    def _is_unknown(self, scope: Scope) -> bool:
        client = scope.get("client")
        return (
            client is not None
            and client[0] not in self.headers.trusted_hosts
            and any(name == b"x-forwarded-for" for name, _ in scope["headers"])
        )

    async def _look_up(self) -> None:
        """Trust the addresses that the names have now. An unknown name has none."""
        found = {address for name in self.names for address in await _addresses(name)}
        self.looked_up = time.monotonic()
        if found != self.addresses:
            self.addresses = found
            self.headers = self._trusting()
            log.info("proxies_found", names=self.names, addresses=sorted(found))


async def _addresses(name: str) -> set[str]:
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return set()
    return {str(entry[4][0]) for entry in found}
