"""The page under a path of a host that other services share."""

from tests.base_path import EITHER_PROXY, TOOLS, behind_the_proxy
from tests.conftest import MakeClient
from tests.pages import Page


class TestBasePath:
    """Every address on the page begins with the path, and works."""

    @EITHER_PROXY
    async def test_what_it_loads_and_sends(self, make_client: MakeClient, before: str) -> None:
        async with make_client(**TOOLS) as client:
            answer = await client.get(f"{before}/")
            addresses = {
                element.attributes[name]
                for element in Page(answer.text).elements
                for name in ("href", "src", "action", "data-live")
                if not element.attributes.get(name, "#").startswith("#")
            }
            assert len(addresses) > 5
            for address in addresses:
                found = await client.get(behind_the_proxy(address, before))
                assert found.status_code in {200, 405}, address  # 405: a form's

    async def test_docs_lead_back(self, make_client: MakeClient) -> None:
        async with make_client(**TOOLS) as client:
            page = Page((await client.get("/tools/docs")).text)
        assert [link.attributes["href"] for link in page.all("a")] == ["./"]

    async def test_the_path_alone(self, make_client: MakeClient) -> None:
        async with make_client(**TOOLS) as client:
            assert (await client.get("/tools")).status_code == 200
