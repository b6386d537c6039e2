"""Keyset pages: cursors, shown over the list of tokens."""

import base64
import contextlib
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ValidationFailed
from app.infra.http.pages import MOST, decode_cursor, encode_cursor
from tests.conftest import MakeToken
from tests.problems import check_problem

TOKENS = "/api/v1/tokens"


class TestCursor:
    """A cursor names a row, and nothing that we did not write is one."""

    @given(st.uuids())
    def test_it_is_read_as_it_was_written(self, row: UUID) -> None:
        cursor = encode_cursor(row)
        assert decode_cursor(cursor) == row
        assert httpx.URL("/", params={"cursor": cursor}).params["cursor"] == cursor

    @given(st.text() | st.from_regex(r"[A-Za-z0-9_=-]{20,26}", fullmatch=True))
    def test_any_other_text_is_refused_or_stands_for_itself(self, text: str) -> None:
        with contextlib.suppress(ValidationFailed):
            assert encode_cursor(decode_cursor(text)) == text

    @given(st.binary(max_size=40).filter(lambda data: len(data) != 16))
    def test_bytes_that_are_no_id_are_refused(self, data: bytes) -> None:
        with pytest.raises(ValidationFailed):
            decode_cursor(base64.urlsafe_b64encode(data).decode().rstrip("="))

    async def test_a_malformed_one_is_422(self, api: httpx.AsyncClient) -> None:
        problem = check_problem(
            await api.get(TOKENS, params={"cursor": "not-a-cursor"}), 422, "validation_failed"
        )
        assert problem["errors"][0]["field"] == "query.cursor"


class TestPages:
    """Pages show every row once, newest first, whatever is added meanwhile."""

    async def names(
        self, api: httpx.AsyncClient, limit: int, cursor: str | None
    ) -> tuple[list[str], str | None]:
        params = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        page = (await api.get(TOKENS, params=params)).json()
        return [item["name"] for item in page["items"]], page["next_cursor"]

    @pytest.mark.parametrize("limit", [1, 2, 6, 7, 100])
    async def test_all_rows_are_on_one_page_each_while_others_are_added(
        self, api: httpx.AsyncClient, make_token: MakeToken, limit: int
    ) -> None:
        for number in range(6):
            await make_token(name=str(number))
        seen, cursor = await self.names(api, limit, None)
        while cursor is not None:
            await make_token(name="new")
            names, cursor = await self.names(api, limit, cursor)
            assert 0 < len(names) <= limit
            seen += names
        assert seen == ["5", "4", "3", "2", "1", "0", "test"]

    @pytest.mark.parametrize("limit", ["0", "-1", str(MOST + 1), "many", ""])
    async def test_a_limit_out_of_bounds_is_422(self, api: httpx.AsyncClient, limit: str) -> None:
        answer = await api.get(TOKENS, params={"limit": limit})
        problem = check_problem(answer, 422, "validation_failed")
        assert problem["errors"][0]["field"] == "query.limit"
