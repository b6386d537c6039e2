"""Connections to the proxy, for clients that send what no HTTP library would."""

import asyncio
import ssl

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect(port: int) -> Streams:
    """Open a connection to the proxy, whatever its certificate."""
    return await asyncio.open_connection(
        "127.0.0.1", port, ssl=any_certificate(), server_hostname="localhost"
    )
