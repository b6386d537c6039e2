"""Each status that the service answers besides success, as a client sees it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.features.tokens.scopes import TOKENS_WRITE
from tests.conftest import MakeClient, MakeToken
from tests.problems import check_problem

TOKENS = "/api/v1/tokens"


class TestService:
    """Whatever is wrong with a request, the answer is a problem document."""

    async def test_400_a_host_that_is_not_ours(self, client: httpx.AsyncClient) -> None:
        check_problem(
            await client.get(TOKENS, headers={"Host": "evil.example"}), 400, "bad_request"
        )

    async def test_401_names_the_scheme(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(TOKENS)
        check_problem(answer, 401, "token_invalid")
        assert answer.headers["www-authenticate"] == "Bearer"

    async def test_403_names_the_scope(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        authorization = f"Bearer {await make_token('ships:sail')}"
        answer = await client.get(TOKENS, headers={"Authorization": authorization})
        assert TOKENS_WRITE in check_problem(answer, 403, "scope_missing")["detail"]

    @pytest.mark.parametrize("path", ["/no/such/path", "/docs/no-such-file.js", "/api/v2"])
    async def test_404(self, client: httpx.AsyncClient, path: str) -> None:
        problem = check_problem(await client.get(path), 404, "not_found")
        assert problem["detail"] == "There is no such path."

    async def test_405_names_what_is_offered(self, client: httpx.AsyncClient) -> None:
        answer = await client.put(TOKENS)
        check_problem(answer, 405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "POST"}

    @pytest.mark.parametrize("declared", [True, False])
    async def test_413_before_the_body_is_read(
        self, api: httpx.AsyncClient, *, declared: bool
    ) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 4096

        headers = {"Content-Length": "3000000000"} if declared else {}
        content = b"{}" if declared else endless()
        answer = await api.post(
            TOKENS, content=content, headers={"Content-Type": "application/json", **headers}
        )
        check_problem(answer, 413, "body_too_large")

    async def test_422_names_each_faulty_input(self, api: httpx.AsyncClient) -> None:
        body = {"name": " ", "scopes": ["everything"], "extra": 1}
        problem = check_problem(await api.post(TOKENS, json=body), 422, "validation_failed")
        assert {fault["field"] for fault in problem["errors"]} == {
            "body.name",
            "body.scopes.0",
            "body.extra",
        }

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[" * 60_000, b"\xff\xfe", b'{"name": "\\ud800"}', b"null", b"NaN"]
    )
    async def test_422_for_what_is_no_json_object(
        self, api: httpx.AsyncClient, content: bytes
    ) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await api.post(TOKENS, content=content, headers=headers)
        assert answer.status_code in {400, 422}
        check_problem(answer, answer.status_code, answer.json()["code"])

    async def test_429_tells_when_to_come_back(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        client = make_client(rate_limit_write="1/minute")
        client.headers["Authorization"] = f"Bearer {await make_token()}"
        assert (await client.get(TOKENS)).status_code == 200
        answer = await client.get(TOKENS)
        check_problem(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
