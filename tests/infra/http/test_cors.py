"""CORS: pages of the named origins may use the API, and no others."""

import httpx
import pytest

from tests.conftest import MakeClient
from tests.problems import check_problem

OURS = "https://app.example.com"
PATH = "/api/v1/tokens"


def preflight(origin: str = OURS, method: str = "POST", headers: str = "") -> dict[str, str]:
    asked = {"Access-Control-Request-Headers": headers} if headers else {}
    return {"Origin": origin, "Access-Control-Request-Method": method, **asked}


class TestPreflight:
    """A preflight is answered before limits and authentication, for the named origins only."""

    async def test_of_a_named_origin(self, make_client: MakeClient) -> None:
        client = make_client(allowed_origins=(OURS, "https://other.example.com"))
        wanted = "authorization, content-type, idempotency-key"
        answer = await client.options(PATH, headers=preflight(headers=wanted))
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == OURS
        assert "access-control-allow-credentials" not in answer.headers
        assert "x-request-id" in answer.headers

    @pytest.mark.parametrize(
        "asked",
        [
            preflight("https://app.example.com.evil.test"),
            preflight("https://app.example.com:8443"),
            preflight("http://app.example.com"),
            preflight("null"),
            preflight(headers="x-anything"),
            preflight(method="TRACE"),
        ],
    )
    async def test_of_anything_else(self, make_client: MakeClient, asked: dict[str, str]) -> None:
        answer = await make_client(allowed_origins=(OURS,)).options(PATH, headers=asked)
        assert answer.status_code == 400

    async def test_while_the_service_is_busy(self, make_client: MakeClient) -> None:
        client = make_client(allowed_origins=(OURS,), max_concurrent_requests=0)
        assert (await client.options(PATH, headers=preflight())).status_code == 200
        refused = await client.get(PATH, headers={"Origin": OURS})
        check_problem(refused, 503, "overloaded")
        assert refused.headers["access-control-allow-origin"] == OURS


class TestAnswer:
    """A page of a named origin can read answers, errors, and the headers that it has to act on."""

    async def test_names_the_headers_that_scripts_may_read(self, make_client: MakeClient) -> None:
        answer = await make_client(allowed_origins=(OURS,)).get(PATH, headers={"Origin": OURS})
        check_problem(answer, 401, "token_invalid")
        assert answer.headers["access-control-allow-origin"] == OURS
        assert answer.headers["vary"] == "Origin"
        shown = answer.headers["access-control-expose-headers"].split(", ")
        assert {"Idempotency-Replayed", "Location", "Retry-After", "X-Request-ID"} == {*shown}

    async def test_of_a_refused_host_too(self, make_client: MakeClient) -> None:
        client = make_client(allowed_origins=(OURS,))
        answer = await client.get(PATH, headers={"Origin": OURS, "Host": "evil.test"})
        check_problem(answer, 400, "bad_request")
        assert answer.headers["access-control-allow-origin"] == OURS

    async def test_tells_other_origins_nothing(self, make_client: MakeClient) -> None:
        client = make_client(allowed_origins=(OURS,))
        answer = await client.get(PATH, headers={"Origin": "https://evil.test"})
        assert "access-control-allow-origin" not in answer.headers


class TestOff:
    """Without the setting there is no CORS."""

    async def test_no_header(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(PATH, headers={"Origin": OURS})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert (await client.options(PATH, headers=preflight())).status_code == 405
