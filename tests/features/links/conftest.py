"""Links for tests."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.features.links import clicks
from app.features.links.runtime import LinksRuntime, runtime_of
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.counting import id_of

LINKS = "/api/v1/links"
IMPORTS = "/api/v1/imports"

MakeLink = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def make_link(api: httpx.AsyncClient) -> MakeLink:
    async def make(**overrides: Any) -> dict[str, Any]:
        """Create a link over the API; `overrides` replace or add fields of the body."""
        answer = await api.post(LINKS, json={"url": "https://example.com/", **overrides})
        assert answer.status_code == 201, answer.text
        link: dict[str, Any] = answer.json()
        return link

    return make


@pytest.fixture
def runtime(resources: Resources) -> LinksRuntime:
    return runtime_of(resources)


RollUp = Callable[[], Awaitable[int]]


@pytest.fixture
def roll_up(resources: Resources) -> RollUp:
    async def roll_up() -> int:
        """Count what the stream holds, as the worker does. Returns the number of entries."""
        async with transaction(resources.sessions) as session:
            return await clicks.roll_up(session, resources.redis)

    return roll_up


@pytest.fixture
async def deck(make_link: MakeLink, resources: Resources) -> UUID:
    """The id of a link whose slug is deck."""
    await make_link(slug="deck")
    return await id_of(resources, "deck")
