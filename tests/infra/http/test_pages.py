"""Keyset pages: cursors, and the list of tokens as an example."""

import base64
import contextlib
import json
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from app.errors import ValidationFailed
from app.features.tokens.models import Token
from app.infra.db import reading
from app.infra.http.pages import (
    MOST,
    PageRequest,
    Rows,
    Sort,
    _read_cursor,
    decode_cursor,
    encode_cursor,
    read_page,
)
from app.infra.lifespan import Resources
from tests.conftest import MakeToken
from tests.problems import check_problem

TOKENS = "/api/v1/tokens"


class TestCursor:
    """A cursor names a row. Text that we did not write is refused."""

    @given(st.uuids())
    def test_it_is_read_as_it_was_written(self, row: UUID) -> None:
        cursor = encode_cursor(row)
        assert decode_cursor(cursor) == row
        assert httpx.URL("/", params={"cursor": cursor}).params["cursor"] == cursor

    @given(
        st.text()
        | st.from_regex(r"[A-Za-z0-9_=-]{20,26}", fullmatch=True)
        | st.binary(max_size=40).map(lambda data: base64.urlsafe_b64encode(data).decode())
    )
    def test_other_text_is_refused(self, text: str) -> None:
        with contextlib.suppress(ValidationFailed):
            assert encode_cursor(decode_cursor(text)) == text


class TestSorted:
    """A sorted list shows each row once, rows with equal values too."""

    @pytest.mark.parametrize("order", ["name", "-name", "created_at", "-created_at"])
    async def test_each_row_is_on_one_page(
        self, resources: Resources, make_token: MakeToken, order: str
    ) -> None:
        for name in ("b", "a", "b", "b", "c", "a"):
            await make_token(name=name)
        seen: list[Token] = []
        cursor = None
        while True:
            found = await self.page(resources, order, cursor)
            seen += found.items
            cursor = found.next_cursor
            if cursor is None:
                break
        assert len({token.id for token in seen}) == len(seen) == 6
        column = order.removeprefix("-")
        rows = [(getattr(token, column), token.id) for token in seen]
        assert rows == sorted(rows, reverse=order.startswith("-"))

    @pytest.mark.parametrize(
        "place",
        [
            *(["name", "a"], ["name", "a", "b"], ["-name", "a", str(UUID(int=1))], {}, [], 1, None),
            *(["name", 1, str(UUID(int=1))], ["name", "a\x00", str(UUID(int=1))], [[[]]]),
            ["created_at", "2030-01-01T00:00:00Z", str(UUID(int=1))],
        ],
    )
    async def test_a_cursor_that_somebody_has_made_up(
        self, resources: Resources, place: object
    ) -> None:
        cursor = base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")
        with pytest.raises(ValidationFailed):
            await self.page(resources, "name", cursor)

    @given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
    def test_other_text_is_refused(self, text: str) -> None:
        with pytest.raises(ValidationFailed):
            _read_cursor(text, Sort(Token.name))

    async def page(self, resources: Resources, order: str, cursor: str | None) -> Rows[Token]:
        request = PageRequest(limit=2, cursor=cursor)
        async with reading(resources.sessions) as session:
            return await read_page(session, select(Token), Token.id, request, Sort.of(Token, order))


class TestPages:
    """Pages show every row once, newest first, while rows are added."""

    @pytest.mark.parametrize("limit", [1, 6, 7, 100])
    async def test_each_row_is_on_one_page(
        self, api: httpx.AsyncClient, make_token: MakeToken, limit: int
    ) -> None:
        for number in range(6):
            await make_token(name=str(number))
        seen: list[str] = []
        params = {"limit": str(limit)}
        while True:
            page = (await api.get(TOKENS, params=params)).json()
            assert 0 < len(page["items"]) <= limit
            seen += [item["name"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
            await make_token(name="new")
        assert seen == ["5", "4", "3", "2", "1", "0", "test"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("limit", "0"), ("limit", "-1"), ("limit", str(MOST + 1)), ("limit", "many")),
            ("cursor", "not-a-cursor"),
        ],
    )
    async def test_a_wrong_parameter_is_422(
        self, api: httpx.AsyncClient, name: str, value: str
    ) -> None:
        answer = await api.get(TOKENS, params={name: value})
        problem = check_problem(answer, 422, "validation_failed")
        assert problem["errors"][0]["field"] == f"query.{name}"
