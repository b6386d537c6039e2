"""The worker class for gunicorn: uvicorn's, but it answers everything that reached its port.

When uvicorn stops, it closes its listening socket while connections may wait in the kernel's accept
queue, and it closes open connections whose request it has not read yet. The clients see a reset,
and those of a proxy a 502.
"""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast

from gunicorn.arbiter import Arbiter
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

# Seconds to wait for requests on connections that are open already. They arrive within
# milliseconds, but a proxy on a busy machine may take longer.
LINGER = 0.5


class DrainingServer(Server):
    """Before it stops, it accepts the connections in the queue and reads their requests."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._drain_accept_queue(sockets or [])
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)

    async def _drain_accept_queue(self, sockets: list[socket.socket]) -> None:
        """Stop listening, and accept the connections that wait in the kernel's queue.

        A socket listens until its last descriptor is closed. So this keeps a duplicate, lets the
        event loop close its own, and closes the duplicate as soon as the queue is empty.
        """
        duplicates = [sock.dup() for sock in sockets]
        for server in self.servers:
            server.close()
        for sock in sockets:
            sock.close()
        await asyncio.sleep(LINGER / 10)
        arrived: list[socket.socket] = []
        for sock in duplicates:
            with sock:
                sock.settimeout(0)
                arrived += _accept_all(sock)
        loop = asyncio.get_running_loop()
        for connection in arrived:
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        # The same call as in uvicorn's startup(), whose types do not fit.
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class DrainingWorker(UvicornWorker):  # type: ignore[misc] # untyped
    """uvicorn's worker with a `DrainingServer`."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        **UvicornWorker.CONFIG_KWARGS,
        # A name, because gunicorn's supervisor imports this module and serves nothing.
        "http": "app.infra.http.protocol:LimitedProtocol",
        "access_log": False,  # `infra.http.middleware` logs requests
        "proxy_headers": False,  # TRUSTED_PROXIES says whose headers to trust
        "server_header": False,
        "ws": "none",
    }

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = DrainingServer(self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def _accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            yield listener.accept()[0]
        except BlockingIOError:
            return
