"""/api/v1/tokens: creating, listing and revoking."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text

from app.features.tokens import scopes
from app.features.tokens.models import Token
from app.features.tokens.scopes import TOKENS_WRITE, Scope, declare_scope, declared_scopes
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.conftest import MakeToken
from tests.features.tokens.conftest import TOKENS, Issue
from tests.problems import check_problem


async def stored(resources: Resources, token_id: str) -> Token:
    async with transaction(resources.sessions) as session:
        return (await session.scalars(select(Token).where(Token.id == UUID(token_id)))).one()


async def listed(api: httpx.AsyncClient) -> dict[str, dict[str, object]]:
    return {item["id"]: item for item in (await api.get(TOKENS)).json()["items"]}


class TestCreate:
    """A token is shown once, and only its hash is kept."""

    async def test_the_answer_holds_it(self, api: httpx.AsyncClient) -> None:
        body = {"name": "Ada's laptop", "scopes": [TOKENS_WRITE, TOKENS_WRITE]}
        answer = await api.post(TOKENS, json=body)
        assert answer.headers["cache-control"] == "no-store"
        made = answer.json()
        assert re.fullmatch("drydock_[0-9a-f]{32}_[0-9a-f]{64}", made["token"])
        assert (made["name"], made["scopes"]) == ("Ada's laptop", [TOKENS_WRITE])
        assert (made["last_used_at"], made["revoked_at"]) == (None, None)
        created = datetime.fromisoformat(made["created_at"])
        assert abs(datetime.now(UTC) - created) < timedelta(minutes=2)

    def test_the_document_lists_the_scopes(self, document: dict[str, Any]) -> None:
        field = document["components"]["schemas"]["TokenCreate"]["properties"]["scopes"]
        assert field["items"]["enum"] == sorted(declared_scopes())

    async def test_an_unknown_scope_is_refused_with_the_known_ones(
        self, api: httpx.AsyncClient
    ) -> None:
        answer = await api.post(TOKENS, json={"name": "x", "scopes": ["root"]})
        [fault] = check_problem(answer, 422, "validation_failed")["errors"]
        assert fault["field"] == "body.scopes.0"
        assert all(scope in fault["detail"] for scope in declared_scopes())

    def test_a_scope_is_declared_once(self) -> None:
        with pytest.raises(ValueError, match="tokens:write"):
            declare_scope(TOKENS_WRITE, "Something else.")

    async def test_neither_another_answer_nor_the_database_holds_it(
        self, api: httpx.AsyncClient, issue: Issue, resources: Resources
    ) -> None:
        token = await issue()
        secret = token.text.rpartition("_")[2]
        page = await api.get(TOKENS)
        assert token.id in page.text
        assert secret not in page.text
        assert "hash" not in page.text
        assert (await stored(resources, token.id)).hash == hashlib.sha256(
            bytes.fromhex(secret)
        ).digest()
        async with transaction(resources.sessions) as session:
            rows = (await session.execute(text("SELECT tokens::text FROM tokens"))).scalars()
            assert secret not in str(list(rows))

    async def test_it_gives_no_scope_that_its_maker_lacks(
        self, client: httpx.AsyncClient, make_token: MakeToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lacked = Scope("ships:sail")
        monkeypatch.setitem(scopes._declared, lacked, "Sail ships.")
        client.headers["Authorization"] = f"Bearer {await make_token(TOKENS_WRITE)}"
        body = {"name": "x", "scopes": [TOKENS_WRITE, lacked]}
        problem = check_problem(await client.post(TOKENS, json=body), 403, "scope_missing")
        assert lacked in problem["detail"]

    async def test_sent_again_with_its_key_it_makes_no_second_one(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        body, headers = {"name": "once", "scopes": [TOKENS_WRITE]}, {"Idempotency-Key": "a"}
        made = (await api.post(TOKENS, json=body, headers=headers)).json()
        problem = check_problem(
            await api.post(TOKENS, json=body, headers=headers), 409, "answer_not_kept"
        )
        assert made["id"] in problem["detail"]
        assert [item["name"] for item in (await listed(api)).values()].count("once") == 1
        async with transaction(resources.sessions) as session:
            rows = await session.scalars(text("SELECT k::text FROM idempotency_keys k"))
            assert made["token"].rpartition("_")[2] not in str(list(rows))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(("name", ""), ("name", "   "), ("name", "x" * 101), ("name", "a\nb"), ("name", None)),
            *(("scopes", []), ("scopes", "tokens:write")),
            *(("expires_at", "2001-01-01T00:00:00Z"), ("expires_at", "2099-01-01T00:00:00")),
            *(("id", "00000000-0000-7000-8000-000000000000"), ("hash", "00")),
        ],
    )
    async def test_a_field_that_is_wrong_is_422(
        self, api: httpx.AsyncClient, field: str, value: object
    ) -> None:
        body = {"name": "x", "scopes": [TOKENS_WRITE], field: value}
        problem = check_problem(await api.post(TOKENS, json=body), 422, "validation_failed")
        assert problem["errors"][0]["field"].startswith(f"body.{field}")


class TestList:
    """The list shows every token, newest first, whatever became of it."""

    async def test_newest_first(self, api: httpx.AsyncClient, issue: Issue) -> None:
        ids = [(await issue(name=str(number))).id for number in range(3)]
        assert list(await listed(api))[:3] == ids[::-1]

    async def test_one_whose_scope_is_no_longer_known_is_shown(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        """A version that drops a feature must still be able to revoke its tokens."""
        async with transaction(resources.sessions) as session:
            session.add(Token(name="old", scopes=["ships:sail"], hash=b"0" * 32))
        (item,) = [item for item in (await listed(api)).values() if item["name"] == "old"]
        assert item["scopes"] == ["ships:sail"]
        assert (await api.delete(f"{TOKENS}/{item['id']}")).status_code == 204


class TestRevoke:
    """A revoked token opens nothing from the answer on, and stays in the list."""

    async def test_it_is_refused_at_once_and_no_other_is(
        self, api: httpx.AsyncClient, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        revoked, kept = await issue(), await issue()
        assert (await client.get(TOKENS, headers=revoked.authorization)).status_code == 200
        answer = await api.delete(f"{TOKENS}/{revoked.id}")
        assert (answer.status_code, answer.content) == (204, b"")
        answer = await client.get(TOKENS, headers=revoked.authorization)
        check_problem(answer, 401, "token_invalid")
        assert (await client.get(TOKENS, headers=kept.authorization)).status_code == 200
        assert (await listed(api))[revoked.id]["revoked_at"] is not None

    async def test_a_second_time_keeps_the_first(
        self, api: httpx.AsyncClient, issue: Issue, resources: Resources
    ) -> None:
        token = await issue()
        first = datetime(2026, 1, 2, tzinfo=UTC)
        async with transaction(resources.sessions) as session:
            (await session.get_one(Token, UUID(token.id))).revoked_at = first
        assert (await api.delete(f"{TOKENS}/{token.id}")).status_code == 204
        assert (await stored(resources, token.id)).revoked_at == first

    async def test_an_unknown_one_is_404(self, api: httpx.AsyncClient) -> None:
        answer = await api.delete(f"{TOKENS}/{uuid4()}")
        check_problem(answer, 404, "token_not_found")
