"""How a web process stops without resetting a connection that the kernel took on its behalf.

uvicorn closes its listening socket while connections may wait in its queue, and closes connections
whose request it has not read yet. Their clients see a reset. A proxy repeats a GET then; a POST is
lost, since nobody but we could know that it was never read.
"""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from typing import cast

from gunicorn.arbiter import Arbiter
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

# Seconds for requests that are on their way on connections which are open already. They arrive
# within milliseconds; a proxy on a busy machine may take longer.
LINGER = 0.5


class DrainingServer(Server):
    """uvicorn's server, which reads whatever had reached its port before it stops."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._empty_the_queue(sockets or [])
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)

    async def _empty_the_queue(self, sockets: list[socket.socket]) -> None:
        """Stop listening, and take what the kernel has accepted until then.

        A listening socket lives until its last descriptor is closed. The event loop closes its own
        some turns later; ours is closed microseconds after the queue was seen empty.
        """
        own = [sock.dup() for sock in sockets]
        for server in self.servers:
            server.close()
        for sock in sockets:
            sock.close()
        await asyncio.sleep(LINGER / 10)
        arrived: list[socket.socket] = []
        for sock in own:
            with sock:
                sock.settimeout(0)
                arrived += _waiting(sock)
        loop = asyncio.get_running_loop()
        for connection in arrived:
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        # As startup() makes one; uvicorn types it as a union of classes with other signatures.
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class DrainingWorker(UvicornWorker):  # type: ignore[misc] # untyped
    """uvicorn's worker for gunicorn, with that server."""

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = DrainingServer(self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            yield listener.accept()[0]
        except BlockingIOError:
            return
