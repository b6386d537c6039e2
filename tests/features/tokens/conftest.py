"""Tokens for tests, over the API."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.features.tokens.scopes import TOKENS_WRITE

TOKENS = "/api/v1/tokens"
COOKIE = "drydock-80"


@dataclass(frozen=True)
class Issued:
    """What the API said of a token that it made."""

    id: str
    text: str
    answer: dict[str, Any]

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}


Issue = Callable[..., Awaitable[Issued]]


@pytest.fixture
def issue(api: httpx.AsyncClient) -> Issue:
    async def issue(**overrides: Any) -> Issued:
        """Create a token over the API; `overrides` replace or add fields of the body."""
        body = {"name": "issued", "scopes": [TOKENS_WRITE], **overrides}
        answer = await api.post(TOKENS, json=body)
        assert answer.status_code == 201, answer.text
        return Issued(answer.json()["id"], answer.json()["token"], answer.json())

    return issue
