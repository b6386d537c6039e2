"""A reload in development does not wait for the open stream of an import."""

from pathlib import Path

import httpx
import pytest

from tests.stack.stack import Stack

pytestmark = pytest.mark.timeout(300)


class TestReload:
    """It cuts the stream off, and does not wait until the stream ends by itself."""

    def test_an_open_stream(self, dev: Stack, checkout: Path) -> None:
        token = dev.make_token("links:read", "links:write")
        worker = dev.container("worker")
        worker.pause()  # so the import does not finish
        try:
            with dev.client(Authorization=f"Bearer {token}") as api:
                kind = {"Content-Type": "text/csv"}
                made = api.post("/api/v1/imports", content="url\nhttps://a.example/", headers=kind)
                stream = api.stream(
                    "GET", made.headers["Location"], headers={"Accept": "text/event-stream"}
                )
                with stream as answer:
                    lines = answer.iter_lines()
                    assert next(lines) == "event: progress"
                    (checkout / "app/main.py").touch()
                    with pytest.raises(httpx.RemoteProtocolError):  # cut off
                        list(lines)
        finally:
            worker.unpause()
