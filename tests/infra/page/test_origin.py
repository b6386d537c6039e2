"""Cross-site request forgery: forms that other sites send are refused."""

import httpx
import pytest

from tests.conftest import MakeClient
from tests.pages import Page

FORM = "/page/sign-out"


class TestOrigin:
    """The headers that browsers send decide. A request without them is not from a browser."""

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "http://testserver"},
            # A browser that sends both has compared the whole origin, scheme included.
            {"Sec-Fetch-Site": "same-origin", "Origin": "http://elsewhere.example"},
        ],
    )
    async def test_our_own_pages_may(
        self, client: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        assert (await client.post(FORM, headers=headers)).status_code == 303

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": ""},
            {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
            {"Origin": "http://evil.example"},
            {"Origin": "http://testserver:8001"},
            {"Origin": "https://testserver"},
            {"Origin": "http://testserver.evil.example"},
            {"Origin": "null"},
            {"Origin": ""},
        ],
    )
    async def test_nobody_elses_may(
        self, client: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        answer = await client.post(FORM, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert "sent from another site" in Page(answer.text).text

    async def test_with_https_a_page_without_it_may_not(self, make_client: MakeClient) -> None:
        """Whoever is on the network can forge a page of http, under the name of this host."""
        async with make_client(public_url="https://testserver") as client:
            statuses = [
                (await client.post(FORM, headers={"Origin": f"{scheme}://testserver"})).status_code
                for scheme in ("https", "http")
            ]
        assert statuses == [303, 403]
