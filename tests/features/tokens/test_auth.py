"""Authentication: which tokens are valid, what they allow, and when their use is noted."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.tokens.known import known_tokens
from app.features.tokens.models import Token
from app.features.tokens.service import find_valid
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.tokens.conftest import TOKENS, Issue, Issued
from tests.live import Live
from tests.logs import captured_logs, named
from tests.polling import PATIENCE
from tests.problems import check_problem
from tests.statements import counted_statements


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


class TestCache:
    """A token is looked up once in TOKEN_CACHE_SECONDS, and never trusted for longer."""

    async def test_a_known_token_costs_no_query(
        self, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        client.headers.update((await issue()).authorization)
        with counted_statements() as first:
            await client.get(TOKENS)
        with counted_statements() as again:
            await client.get(TOKENS)
        assert [of_tokens(said) for said in (first, again)] == [2, 1]  # the list is the other one

    async def test_the_process_that_revokes_it_refuses_it_at_once(
        self, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        token = await issue()
        assert (await client.get(TOKENS, headers=token.authorization)).status_code == 200
        assert (await client.delete(f"{TOKENS}/{token.id}")).status_code == 204
        answer = await client.get(TOKENS, headers=token.authorization)
        check_problem(answer, 401, "token_invalid")

    @pytest.mark.parametrize("change_of", ["revoked_at", "expires_at"])
    async def test_another_process_refuses_it_when_the_time_is_up(
        self,
        client: httpx.AsyncClient,
        issue: Issue,
        resources: Resources,
        monkeypatch: pytest.MonkeyPatch,
        change_of: str,
    ) -> None:
        token = await issue()
        assert (await client.get(TOKENS, headers=token.authorization)).status_code == 200
        await change(resources, token, **{change_of: datetime.now(UTC) - timedelta(seconds=9)})
        later = time.monotonic() + 1.0
        monkeypatch.setattr("app.features.tokens.known.time.monotonic", lambda: later)
        answer = await client.get(TOKENS, headers=token.authorization)
        check_problem(answer, 401, "token_invalid")

    async def test_what_is_revoked_while_it_is_looked_up_is_not_remembered(
        self,
        client: httpx.AsyncClient,
        issue: Issue,
        resources: Resources,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        token = await issue()

        async def found_and_revoked(session: AsyncSession, **given: Any) -> Token:
            found = await find_valid(session, **given)
            known_tokens(resources).forget([found.id])  # as another request does after its commit
            return found

        monkeypatch.setattr("app.features.tokens.known.find_valid", found_and_revoked)
        await client.get(TOKENS, headers=token.authorization)
        await change(resources, token, revoked_at=datetime.now(UTC))
        answer = await client.get(TOKENS, headers=token.authorization)
        check_problem(answer, 401, "token_invalid")

    async def test_it_is_not_known_after_it_expired(
        self, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        token = await issue(expires_at=soon.isoformat())
        await client.get(TOKENS, headers=token.authorization)
        await asyncio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.01)
        answer = await client.get(TOKENS, headers=token.authorization)
        check_problem(answer, 401, "token_invalid")

    async def test_the_secret_is_compared_each_time(
        self, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        token, other = await issue(), await issue()
        await client.get(TOKENS, headers=token.authorization)
        forged = Issued(token.id, token.text[:-64] + other.text[-64:], {})
        answer = await client.get(TOKENS, headers=forged.authorization)
        check_problem(answer, 401, "token_invalid")

    async def test_one_request_looks_it_up_again_and_a_failure_is_no_answer(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Postgres fails at the second lookup: the request answers 503, and so does the next."""
        await live.sign_in()
        assert (await live.client.get(TOKENS)).status_code == 200
        monkeypatch.setattr(known_tokens(live.resources), "_sessions", Broken())
        assert (await live.client.get(TOKENS)).status_code == 200
        later = time.monotonic() + 1.0
        monkeypatch.setattr("app.features.tokens.known.time.monotonic", lambda: later)
        for _ in range(2):
            check_problem(await live.client.get(TOKENS), 503, "dependency_unavailable")


class Broken:
    """Sessions of a server that is down."""

    def readers(self) -> None:
        raise OperationalError("SELECT", {}, ConnectionError())


def of_tokens(statements: list[str]) -> int:
    return sum(one.startswith("SELECT") and "FROM tokens" in one for one in statements)


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
