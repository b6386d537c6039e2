"""Connections to the proxy, for clients that send what no HTTP library would."""

import asyncio
import ssl
from functools import cache

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@cache
def shared_context() -> ssl.SSLContext:
    """Making one reads all certificates of the system."""
    return any_certificate()


async def connect(port: int) -> Streams:
    """Open a connection to the proxy, whatever its certificate."""
    return await asyncio.open_connection(
        "127.0.0.1", port, ssl=shared_context(), server_hostname="localhost"
    )
