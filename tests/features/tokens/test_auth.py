"""Authentication: which tokens are valid, what they allow, and when their use is noted."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from app.features.tokens.models import Token
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.tokens.conftest import TOKENS, Issue, Issued
from tests.live import Live
from tests.logs import captured_logs, named
from tests.polling import PATIENCE
from tests.problems import check_problem


async def change(resources: Resources, token: Issued, **values: Any) -> None:
    async with transaction(resources.sessions) as session:
        await session.execute(update(Token).where(Token.id == UUID(token.id)).values(**values))


class TestInvalid:
    """A request without a valid token gets 401, whatever is wrong with its token."""

    async def test_none(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(TOKENS)
        check_problem(answer, 401, "token_invalid")
        assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        "header",
        [
            *("", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "é", "Bearer drydock_0_0"),
            *("drydock_{id}_{secret}", "Bearer {id}_{secret}", "Bearer DRYDOCK_{id}_{secret}"),
            *("Bearer drydock_{id}_{secret}0", "Bearer drydock_{id}_{secret}\u0660"),
            *("Bearer drydock_{id}_{secret},", "Bearer drydock_{id}{secret}"),
            # The id of one with the secret of another, and an id that nobody has.
            *("Bearer drydock_{id}_{other}", "Bearer drydock_{other:.32}_{secret}"),
            f"Bearer {'x' * 7000}",
        ],
    )
    async def test_what_is_none(self, client: httpx.AsyncClient, issue: Issue, header: str) -> None:
        _, token_id, secret = (await issue()).text.split("_")
        other = (await issue()).text.rpartition("_")[2]
        text = header.format(id=token_id, secret=secret, other=other)
        answer = await client.get(TOKENS, headers={b"Authorization": text.encode()})
        check_problem(answer, 401, "token_invalid")

    async def test_revoked_expired_and_unknown_are_told_alike(
        self, client: httpx.AsyncClient, issue: Issue, resources: Resources
    ) -> None:
        expired, revoked, wrong = await issue(), await issue(), await issue()
        now = datetime.now(UTC)
        await change(resources, expired, expires_at=now - timedelta(seconds=1))
        await change(resources, revoked, revoked_at=now)
        wrong = Issued(wrong.id, wrong.text[:-64] + revoked.text[-64:], {})
        valid = await issue(expires_at=(now + timedelta(minutes=5)).isoformat())
        assert (await client.get(TOKENS, headers=valid.authorization)).status_code == 200
        details = set()
        for token in (expired, revoked, wrong):
            answer = await client.get(TOKENS, headers=token.authorization)
            details.add(check_problem(answer, 401, "token_invalid")["detail"])
        assert len(details) == 1


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
            async with asyncio.timeout(PATIENCE):
                assert (await live.client.get(TOKENS)).status_code == 200
