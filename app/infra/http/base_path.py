"""Serving under a path of a host that other services share: PUBLIC_URL=https://example.com/tools."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCATION = b"location"


class BasePath:
    """Takes the path off each request, and puts it before the paths in Location headers.

    A proxy may take it off itself, so a request without it is served as well.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app = app
        self.path = path
        self.raw = path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if f"{scope['path']}/".startswith(f"{self.path}/"):
            path, raw = scope["path"][len(self.path) :], scope["raw_path"][len(self.raw) :]
            scope = {**scope, "path": path or "/", "raw_path": raw or b"/"}

        async def send_with_path(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, self._locate(name, value)) for name, value in message["headers"]]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_path)

    def _locate(self, name: bytes, value: bytes) -> bytes:
        here = name.lower() == LOCATION and value.startswith(b"/") and not value.startswith(b"//")
        return self.raw + value if here else value
