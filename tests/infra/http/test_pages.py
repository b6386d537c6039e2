"""Keyset pages: cursors, and the list of tokens as an example."""

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
