"""Links for tests."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

MakeLink = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def make_link(api: httpx.AsyncClient) -> MakeLink:
    async def make(**overrides: Any) -> dict[str, Any]:
        """Create a link over the API; `overrides` replace or add fields of the body."""
        answer = await api.post("/api/v1/links", json={"url": "https://example.com/", **overrides})
        assert answer.status_code == 201, answer.text
        link: dict[str, Any] = answer.json()
        return link

    return make
