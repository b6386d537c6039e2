"""Authentication: which tokens are valid, what they allow, and when their use is noted."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from app.features.tokens.models import Token
from app.features.tokens.scopes import TOKENS_WRITE
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.conftest import MakeToken
from tests.features.tokens.conftest import TOKENS, Issue, Issued
from tests.live import Live
from tests.logs import captured_logs, named
from tests.problems import check_problem


async def change(resources: Resources, token: Issued, **values: Any) -> None:
    async with transaction(resources.sessions) as session:
        await session.execute(update(Token).where(Token.id == UUID(token.id)).values(**values))


def changed_at(text: str, position: int) -> str:
    """The token with one of its characters changed to another that may stand there.

    Counted from the end, where id and secret have their places whatever the prefix is.
    """
    position %= len(text)
    other = "1" if text[position] == "0" else "0"
    return text[:position] + other + text[position + 1 :]


class TestInvalid:
    """A request without a valid token gets 401, whatever is wrong with its token."""

    async def test_none(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(TOKENS)
        check_problem(answer, 401, "token_invalid")
        assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        "header",
        [
            *("Bearer ", "Bearer x", "Basic YTpi", "drydock_", "é", "Bearer drydock_0_0"),
            f"Bearer drydock_{'0' * 32}_{'0' * 64}",
            f"Bearer drydock_{'G' * 32}_{'0' * 64}",
            f"Bearer {'x' * 7000}",
        ],
    )
    async def test_what_is_none(self, client: httpx.AsyncClient, header: str) -> None:
        headers = {b"Authorization": header.encode()}
        check_problem(await client.get(TOKENS, headers=headers), 401, "token_invalid")

    @pytest.mark.parametrize(
        "change_text",
        [
            *(str.upper, "{}0".format, "{}\u0660".format),
            *(partial(changed_at, position=at) for at in (0, -97, -66, -65, -64, -1)),
        ],
    )
    async def test_one_that_was_changed(
        self, client: httpx.AsyncClient, issue: Issue, change_text: Callable[[str], str]
    ) -> None:
        headers = {b"Authorization": f"Bearer {change_text((await issue()).text)}".encode()}
        check_problem(await client.get(TOKENS, headers=headers), 401, "token_invalid")

    async def test_the_id_of_one_with_the_secret_of_another(
        self, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        mine, other = (await issue()).text, (await issue()).text
        mixed = f"{mine.rpartition('_')[0]}_{other.rpartition('_')[2]}"
        headers = {"Authorization": f"Bearer {mixed}"}
        check_problem(await client.get(TOKENS, headers=headers), 401, "token_invalid")

    async def test_revoked_expired_and_unknown_are_told_alike(
        self, client: httpx.AsyncClient, issue: Issue, resources: Resources
    ) -> None:
        expired, revoked, wrong = await issue(), await issue(), await issue()
        now = datetime.now(UTC)
        await change(resources, expired, expires_at=now - timedelta(seconds=1))
        await change(resources, revoked, revoked_at=now)
        wrong = Issued(wrong.id, changed_at(wrong.text, -1), {})
        valid = await issue(expires_at=(now + timedelta(minutes=5)).isoformat())
        assert (await client.get(TOKENS, headers=valid.authorization)).status_code == 200
        details = set()
        for token in (expired, revoked, wrong):
            answer = await client.get(TOKENS, headers=token.authorization)
            details.add(check_problem(answer, 401, "token_invalid")["detail"])
        assert len(details) == 1


class TestScopes:
    """A token may do what its scopes say, at every endpoint."""

    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", TOKENS), ("GET", TOKENS), ("DELETE", f"{TOKENS}/{UUID(int=0)}")],
    )
    async def test_tokens_write_is_needed_and_enough(
        self, client: httpx.AsyncClient, make_token: MakeToken, method: str, path: str
    ) -> None:
        body = {"name": "x", "scopes": [TOKENS_WRITE]} if method == "POST" else None
        client.headers["Authorization"] = f"Bearer {await make_token('ships:sail')}"
        answer = await client.request(method, path, json=body)
        assert TOKENS_WRITE in check_problem(answer, 403, "scope_missing")["detail"]
        client.headers["Authorization"] = f"Bearer {await make_token(TOKENS_WRITE)}"
        answer = await client.request(method, path, json=body)
        assert answer.status_code in {200, 201, 404}


class TestLog:
    """The log says which token a request came with."""

    async def test_over_the_api_and_on_the_page(
        self, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        token = await issue()
        with captured_logs() as events:
            await client.get(TOKENS, headers=token.authorization)
            await client.post("/page/sign-in", data={"token": token.text})
        assert [event["token_id"] for event in named(events, "request")] == [token.id] * 2


class TestLastUsed:
    """A token's last use is known to the minute, at the price of one write a minute."""

    @pytest.mark.parametrize(("seconds", "noted"), [(None, True), (40, False), (80, True)])
    async def test_a_use_so_long_after_the_last_one(
        self,
        client: httpx.AsyncClient,
        issue: Issue,
        resources: Resources,
        seconds: int | None,
        *,
        noted: bool,
    ) -> None:
        token = await issue()
        before = seconds and datetime.now(UTC) - timedelta(seconds=seconds)
        await change(resources, token, last_used_at=before)
        await client.get(TOKENS, headers=token.authorization)
        async with transaction(resources.sessions) as session:
            used = (await session.get_one(Token, UUID(token.id))).last_used_at
        assert (used != before) is noted

    async def test_a_request_does_not_wait_for_another_that_notes_it(self, live: Live) -> None:
        await live.sign_in()
        async with transaction(live.resources.sessions) as session:
            await session.execute(update(Token).values(name="held"))
            # The row is locked by the transaction above.
            async with asyncio.timeout(5):
                assert (await live.client.get(TOKENS)).status_code == 200
