"""/api/v1/tokens: creating, listing and revoking."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text

from app.features.tokens.models import Token
from app.features.tokens.scopes import TOKENS_WRITE, declared_scopes
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.conftest import MakeToken
from tests.features.tokens.conftest import TOKENS, Issue
from tests.problems import check_problem

OTHERS = sorted({*declared_scopes()} - {TOKENS_WRITE})


async def stored(resources: Resources, token_id: str) -> Token:
    async with transaction(resources.sessions) as session:
        return (await session.scalars(select(Token).where(Token.id == UUID(token_id)))).one()


async def listed(api: httpx.AsyncClient) -> dict[str, dict[str, object]]:
    return {item["id"]: item for item in (await api.get(TOKENS)).json()["items"]}


class TestCreate:
    """A token is shown once, and only its hash is kept."""

    async def test_the_answer_holds_it(self, issue: Issue) -> None:
        token = await issue(name="Ada's laptop")
        assert re.fullmatch("drydock_[0-9a-f]{32}_[0-9a-f]{64}", token.text)
        assert token.answer["name"] == "Ada's laptop"
        assert token.answer["scopes"] == ["tokens:write"]
        assert token.answer["last_used_at"] is None
        assert token.answer["revoked_at"] is None
        created = datetime.fromisoformat(token.answer["created_at"])
        assert abs(datetime.now(UTC) - created) < timedelta(minutes=2)

    async def test_no_cache_may_keep_it(self, api: httpx.AsyncClient) -> None:
        body = {"name": "x", "scopes": [TOKENS_WRITE]}
        assert (await api.post(TOKENS, json=body)).headers["cache-control"] == "no-store"

    async def test_no_other_answer_holds_it(self, api: httpx.AsyncClient, issue: Issue) -> None:
        token = await issue()
        page = await api.get(TOKENS)
        assert token.id in page.text
        assert token.text not in page.text
        assert token.text.rpartition("_")[2] not in page.text
        assert "hash" not in page.text

    async def test_the_database_holds_its_sha256_and_nothing_to_use(
        self, issue: Issue, resources: Resources
    ) -> None:
        token = await issue()
        secret = token.text.rpartition("_")[2]
        assert (await stored(resources, token.id)).hash == hashlib.sha256(
            bytes.fromhex(secret)
        ).digest()
        async with transaction(resources.sessions) as session:
            rows = (await session.execute(text("SELECT tokens::text FROM tokens"))).scalars()
            assert secret not in str(list(rows))

    async def test_two_of_one_name_are_two(self, issue: Issue) -> None:
        assert (await issue(name="twin")).text != (await issue(name="twin")).text

    async def test_it_works_at_once(self, client: httpx.AsyncClient, issue: Issue) -> None:
        answer = await client.get(TOKENS, headers=(await issue()).authorization)
        assert answer.status_code == 200

    async def test_scopes_are_kept_once_each(self, issue: Issue) -> None:
        token = await issue(scopes=[TOKENS_WRITE, TOKENS_WRITE])
        assert token.answer["scopes"] == ["tokens:write"]

    @pytest.mark.parametrize("lacked", OTHERS)
    async def test_it_gives_no_scope_that_its_maker_lacks(
        self, client: httpx.AsyncClient, make_token: MakeToken, lacked: str
    ) -> None:
        client.headers["Authorization"] = f"Bearer {await make_token(TOKENS_WRITE)}"
        body = {"name": "x", "scopes": [TOKENS_WRITE, lacked]}
        problem = check_problem(await client.post(TOKENS, json=body), 403, "scope_missing")
        assert lacked in problem["detail"]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(("name", ""), ("name", "   "), ("name", "x" * 101), ("name", "a\nb"), ("name", None)),
            *(("scopes", []), ("scopes", ["root"]), ("scopes", "tokens:write")),
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

    async def test_it_is_refused_at_once(
        self, api: httpx.AsyncClient, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        token = await issue()
        assert (await client.get(TOKENS, headers=token.authorization)).status_code == 200
        answer = await api.delete(f"{TOKENS}/{token.id}")
        assert (answer.status_code, answer.content) == (204, b"")
        answer = await client.get(TOKENS, headers=token.authorization)
        check_problem(answer, 401, "token_invalid")

    async def test_the_list_says_when(self, api: httpx.AsyncClient, issue: Issue) -> None:
        token = await issue()
        await api.delete(f"{TOKENS}/{token.id}")
        assert (await listed(api))[token.id]["revoked_at"] is not None

    async def test_a_second_time_keeps_the_first(
        self, api: httpx.AsyncClient, issue: Issue, resources: Resources
    ) -> None:
        token = await issue()
        first = datetime(2026, 1, 2, tzinfo=UTC)
        async with transaction(resources.sessions) as session:
            (await session.get_one(Token, UUID(token.id))).revoked_at = first
        assert (await api.delete(f"{TOKENS}/{token.id}")).status_code == 204
        assert (await stored(resources, token.id)).revoked_at == first

    async def test_the_others_stay(
        self, api: httpx.AsyncClient, client: httpx.AsyncClient, issue: Issue
    ) -> None:
        revoked, kept = await issue(), await issue()
        await api.delete(f"{TOKENS}/{revoked.id}")
        assert (await client.get(TOKENS, headers=kept.authorization)).status_code == 200

    async def test_an_unknown_one_is_404(self, api: httpx.AsyncClient) -> None:
        answer = await api.delete(f"{TOKENS}/{uuid4()}")
        check_problem(answer, 404, "token_not_found")

    async def test_what_is_no_id_is_422(self, api: httpx.AsyncClient) -> None:
        problem = check_problem(await api.delete(f"{TOKENS}/first"), 422, "validation_failed")
        assert problem["errors"][0]["field"] == "path.token_id"
