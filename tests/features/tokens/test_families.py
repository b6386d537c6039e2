"""A token and those that it has made: none gives, takes or lasts more than its own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, text, update

from app.config import Settings
from app.features.tokens import scopes
from app.features.tokens.models import Token
from app.features.tokens.schemas import TokenCreate
from app.features.tokens.scopes import TOKENS_WRITE, Scope
from app.features.tokens.service import create_child, revoke_token
from app.infra.db import reading, transaction
from app.infra.lifespan import Resources
from tests.conftest import MakeToken
from tests.features.tokens.conftest import TOKENS, Issue, Issued
from tests.live import Live, run_service
from tests.logs import captured_logs, named
from tests.polling import eventually
from tests.problems import check_problem

SAIL = Scope("ships:sail")
BODY = {"name": "child", "scopes": [TOKENS_WRITE]}
# A transaction that waits, or that others wait for, may take as long as this machine needs.
PATIENT = {"database_checkout_limit": 60.0, "database_pool_timeout": 60.0}


@pytest.fixture(autouse=True)
def sail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope that some of these tokens have and others lack."""
    monkeypatch.setitem(scopes._declared, SAIL, "Sail ships.")


@pytest.fixture
async def patient(own_settings: Settings) -> AsyncIterator[Live]:
    async with run_service(own_settings.model_copy(update=PATIENT)) as service:
        yield service


async def child_of(client: httpx.AsyncClient, parent: str, **overrides: Any) -> Issued:
    headers = {"Authorization": f"Bearer {parent}"}
    answer = await client.post(TOKENS, json={**BODY, **overrides}, headers=headers)
    assert answer.status_code == 201, answer.text
    return Issued(answer.json()["id"], answer.json()["token"], answer.json())


async def status(client: httpx.AsyncClient, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return (await client.get(TOKENS, headers=headers)).status_code


def id_of(token: str) -> UUID:
    return UUID(token.split("_")[1])


class TestParent:
    """Who made a token is in the list for good."""

    async def test_the_list_names_it(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        parent = await make_token()
        child = await child_of(client, parent)
        grandchild = await child_of(client, child.text)
        items = (await client.get(TOKENS, headers=child.authorization)).json()["items"]
        made_by = {item["id"]: item["created_by"] for item in items}
        assert made_by[grandchild.id] == child.id
        assert made_by[child.id] == str(id_of(parent))
        assert made_by[str(id_of(parent))] is None

    @pytest.mark.parametrize("field", ["created_by", "parent"])
    async def test_nobody_chooses_it(self, api: httpx.AsyncClient, field: str) -> None:
        answer = await api.post(TOKENS, json={**BODY, field: str(UUID(int=0))})
        check_problem(answer, 422, "validation_failed")


class TestExpiry:
    """No child outlives its parent."""

    async def test_it_ends_with_its_parent_unless_it_ends_before(
        self, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        parent = await issue(expires_at=end.isoformat())
        for given in ({}, {"expires_at": None}, {"expires_at": end.isoformat()}):
            made = (await child_of(client, parent.text, **given)).answer
            assert datetime.fromisoformat(made["expires_at"]) == end
        sooner = (end - timedelta(minutes=1)).isoformat()
        made = (await child_of(client, parent.text, expires_at=sooner)).answer
        assert datetime.fromisoformat(made["expires_at"]) == end - timedelta(minutes=1)

    async def test_a_later_end_is_refused(self, client: httpx.AsyncClient, issue: Issue) -> None:
        end = datetime.now(UTC) + timedelta(hours=1)
        parent = await issue(expires_at=end.isoformat())
        body = {**BODY, "expires_at": (end + timedelta(seconds=1)).isoformat()}
        answer = await client.post(TOKENS, json=body, headers=parent.authorization)
        problem = check_problem(answer, 422, "validation_failed")
        assert problem["errors"][0]["field"] == "body.expires_at"
        assert end.isoformat() in problem["errors"][0]["detail"]


class TestRevoked:
    """Whoever revokes a token revokes all that it has made, and what those have made."""

    async def test_they_end_at_once_and_no_others(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        admin, parent = await make_token(), await make_token(TOKENS_WRITE)
        line = [parent]
        for _ in range(3):
            line.append((await child_of(client, line[-1])).text)
        sibling = (await child_of(client, parent)).text
        other = (await child_of(client, admin)).text
        assert {await status(client, one) for one in [*line, sibling, other]} == {200}
        headers = {"Authorization": f"Bearer {admin}"}
        with captured_logs() as events:
            answer = await client.delete(f"{TOKENS}/{id_of(line[1])}", headers=headers)
        assert answer.status_code == 204
        assert {await status(client, one) for one in line[1:]} == {401}
        assert {await status(client, one) for one in [admin, parent, sibling, other]} == {200}
        said = [event["subject"] for event in named(events, "security_event")]
        assert sorted(said) == sorted(str(id_of(one)) for one in line[1:])


class TestBetters:
    """A token revokes itself, its children, and others without a scope that it lacks."""

    async def test_one_with_more_is_403(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        better, lesser = await make_token(TOKENS_WRITE, SAIL), await make_token(TOKENS_WRITE)
        headers = {"Authorization": f"Bearer {lesser}"}
        answer = await client.delete(f"{TOKENS}/{id_of(better)}", headers=headers)
        assert SAIL in check_problem(answer, 403, "scope_missing")["detail"]
        assert await status(client, better) == 200

    async def test_its_parent_with_more_is_403(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        parent = await make_token(TOKENS_WRITE, SAIL)
        child = await child_of(client, parent)
        answer = await client.delete(f"{TOKENS}/{id_of(parent)}", headers=child.authorization)
        check_problem(answer, 403, "scope_missing")

    async def test_itself_its_child_and_an_equal(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        token, equal = await make_token(TOKENS_WRITE, SAIL), await make_token(TOKENS_WRITE, SAIL)
        child = await child_of(client, token)
        headers = {"Authorization": f"Bearer {token}"}
        for revoked in (child.text, equal, token):
            answer = await client.delete(f"{TOKENS}/{id_of(revoked)}", headers=headers)
            assert answer.status_code == 204
            assert await status(client, revoked) == 401


class TestKnown:
    """What a process knows from memory is looked up again before it is given or taken."""

    @pytest.mark.parametrize("change", ["revoked_at", "expires_at"])
    async def test_a_parent_that_has_ended_elsewhere(
        self, client: httpx.AsyncClient, issue: Issue, resources: Resources, change: str
    ) -> None:
        parent, other = await issue(), await issue()
        assert await status(client, parent.text) == 200
        ended = datetime.now(UTC) - timedelta(seconds=1)
        async with transaction(resources.sessions) as session:
            where = update(Token).where(Token.id == UUID(parent.id))
            await session.execute(where.values({change: ended}))
        assert await status(client, parent.text) == 200  # from memory
        answer = await client.post(TOKENS, json=BODY, headers=parent.authorization)
        check_problem(answer, 401, "token_invalid")
        answer = await client.delete(f"{TOKENS}/{other.id}", headers=parent.authorization)
        check_problem(answer, 401, "token_invalid")


class TestAtOnce:
    """No child escapes that is made while one of its ancestors is being revoked."""

    @pytest.mark.parametrize("generations", [1, 3])
    async def test_the_child_is_first(self, patient: Live, generations: int) -> None:
        """The revocation waits for the child, and then finds it."""
        sessions, data = patient.resources.sessions, TokenCreate.model_validate(BODY)
        await patient.sign_in()
        root = parent = id_of(patient.client.headers["Authorization"].split()[1])
        for _ in range(generations - 1):
            async with transaction(sessions) as session:
                parent = (await create_child(session, data=data, parent_id=parent))[0].id
        async with transaction(sessions) as session:
            child, _ = await create_child(session, data=data, parent_id=parent)
            revoking = asyncio.create_task(patient.client.delete(f"{TOKENS}/{root}"))
            await _waits(patient)
        assert (await revoking).status_code == 204
        async with transaction(sessions) as session:
            assert (await session.get_one(Token, child.id)).revoked_at is not None

    async def test_the_revocation_is_first(self, patient: Live) -> None:
        """The child waits for the revocation, and is then refused."""
        await patient.sign_in()
        root = id_of(patient.client.headers["Authorization"].split()[1])
        assert (await patient.client.get(TOKENS)).status_code == 200  # it is in memory
        async with transaction(patient.resources.sessions) as session:
            await revoke_token(session, token_id=root, by=root)
            making = asyncio.create_task(patient.client.post(TOKENS, json=BODY))
            await _waits(patient)
        check_problem(await making, 401, "token_invalid")

    async def test_a_hundred_children_and_a_revocation(self, patient: Live) -> None:
        await patient.sign_in()
        root = id_of(patient.client.headers["Authorization"].split()[1])
        made = [patient.client.post(TOKENS, json=BODY) for _ in range(100)]
        revoked = patient.client.delete(f"{TOKENS}/{root}")
        answers = await asyncio.gather(*made[:50], revoked, *made[50:])
        codes = {answer.status_code for answer in answers}
        assert 204 in codes
        # 503: the parent's row was locked for too long.
        assert codes <= {201, 204, 401, 503}
        async with transaction(patient.resources.sessions) as session:
            valid = select(func.count()).select_from(Token).where(Token.revoked_at.is_(None))
            assert await session.scalar(valid) == 0


async def _waits(live: Live) -> None:
    """Return when a connection waits for an advisory lock."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    async def one() -> bool:
        async with reading(live.resources.sessions) as session:
            return bool(await session.scalar(waiting))

    await eventually("a request waits for the lock", one)
