"""GET /{slug}, in all its cases."""

import httpx

from tests.features.links.conftest import MakeLink


class TestRedirect:
    """A slug leads to its URL."""

    async def test_answers_302_to_the_target_and_forbids_caching(
        self, client: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        link = await make_link(url="https://example.com/a?b=c#d")
        answer = await client.get(f"/{link['slug']}")
        assert answer.status_code == 302
        assert answer.headers["location"] == "https://example.com/a?b=c#d"
        assert answer.headers["cache-control"] == "private, no-store"

    async def test_an_unknown_slug_is_404(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/nowhere")
        assert answer.status_code == 404
        assert answer.json()["code"] == "link_not_found"

    async def test_a_deleted_link_redirects_no_more(
        self, api: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        link = await make_link(slug="gone")
        assert (await api.get("/gone")).status_code == 302
        assert (await api.delete(f"/api/v1/links/{link['slug']}")).status_code == 204
        assert (await api.get("/gone")).status_code == 404
