"""Security events: each has one log line with an actor, and one count in the metrics."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import generate_latest

from app.features.tokens.scopes import TOKENS_WRITE
from app.infra.lifespan import Resources
from tests.conftest import MakeClient, MakeToken
from tests.live import ROOT
from tests.logs import captured_logs, named

TOKENS = "/api/v1/tokens"
METRIC = "drydock_security_events_total"


def id_of(text: str) -> str:
    return str(UUID(hex=text.split("_")[1]))


def security(events: list[dict[str, Any]]) -> list[tuple[str, str | None, str | None]]:
    return [
        (event["action"], event["actor"], event["subject"])
        for event in named(events, "security_event")
    ]


def counted(resources: Resources, action: str) -> float:
    text = generate_latest(resources.metrics.registry).decode()
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(METRIC) and f'action="{action}"' in line
    )


class TestTokens:
    """Who made a token, revoked one, was refused."""

    async def test_made_and_revoked(
        self, client: httpx.AsyncClient, make_token: MakeToken, resources: Resources
    ) -> None:
        manager = await make_token(TOKENS_WRITE)
        client.headers["Authorization"] = f"Bearer {manager}"
        with captured_logs() as events:
            made = await client.post(TOKENS, json={"name": "a", "scopes": [TOKENS_WRITE]})
            await client.delete(f"{TOKENS}/{made.json()['id']}")
        actor, subject = id_of(manager), made.json()["id"]
        assert security(events) == [
            ("token_created", actor, subject),
            ("token_revoked", actor, subject),
        ]
        assert {event["client"] for event in named(events, "security_event")} == {"127.0.0.1"}
        assert counted(resources, "token_created") == counted(resources, "token_revoked") == 1
        assert made.json()["token"] not in str(events)

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", TOKENS, {"name": "a", "scopes": []}),
            ("DELETE", f"{TOKENS}/{UUID(int=7)}", None),
        ],
    )
    async def test_what_was_not_done_is_not_recorded(
        self, api: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None
    ) -> None:
        with captured_logs() as events:
            answer = await api.request(method, path, json=body)
        assert answer.status_code in {404, 422}
        assert security(events) == []

    async def test_refused(
        self, client: httpx.AsyncClient, make_token: MakeToken, resources: Resources
    ) -> None:
        poor = await make_token("ships:sail")
        wrong = poor[:-64] + "0" * 64
        with captured_logs() as events:
            for text in (poor, wrong, "guess\x1b[2J"):
                await client.get(TOKENS, headers={b"Authorization": f"Bearer {text}".encode()})
            await client.get(TOKENS)  # nobody tried anything
        assert security(events) == [
            ("scope_refused", id_of(poor), TOKENS_WRITE),
            ("token_refused", None, id_of(poor)),
            ("token_refused", None, None),
        ]
        assert (counted(resources, "scope_refused"), counted(resources, "token_refused")) == (1, 2)

    async def test_refused_on_the_page_and_by_the_limit(self, make_client: MakeClient) -> None:
        async with make_client(rate_limit_login="1/minute") as browser:
            with captured_logs() as events:
                for _ in range(2):
                    await browser.post("/page/sign-in", data={"token": "guess"})
        assert security(events) == [("token_refused", None, None)] * 2


class TestDocumentation:
    """docs/operations.md names the metric and the actions."""

    def test_it(self) -> None:
        text = (ROOT / "docs" / "operations.md").read_text()
        assert METRIC in text
        for action in ("token_created", "token_revoked", "token_refused", "scope_refused"):
            assert f"`{action}`" in text
