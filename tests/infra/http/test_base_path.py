"""The service under a path of a host that other services share."""

import httpx

from tests.base_path import EITHER_PROXY, TOOLS, behind_the_proxy
from tests.conftest import MakeClient, MakeToken
from tests.pages import Page
from tests.problems import check_problem

TOKENS = "/api/v1/tokens"


class TestBasePath:
    """Every address that the service gives begins with the path, and works."""

    @EITHER_PROXY
    async def test_docs(self, make_client: MakeClient, before: str) -> None:
        async with make_client(**TOOLS) as client:
            page = Page((await client.get(f"{before}/docs")).text)
            here = httpx.URL("http://testserver/tools/docs")
            for element in page.elements:
                loaded = element.attributes.get("src") or element.attributes.get("href")
                if loaded:
                    path = here.join(loaded).path
                    status = (await client.get(behind_the_proxy(path, before))).status_code
                    assert status == 200, path
            script = (await client.get(f"{before}/docs/start.js")).text
            assert 'url: "openapi.json"' in script
            document = (await client.get(f"{before}/openapi.json")).json()
        assert document["servers"] == [{"url": "/tools"}]

    @EITHER_PROXY
    async def test_redirects_and_locations(
        self, make_client: MakeClient, make_token: MakeToken, before: str
    ) -> None:
        async with make_client(**TOOLS) as client:
            client.headers["Authorization"] = f"Bearer {await make_token()}"
            body = {"name": "x", "scopes": ["tokens:write"]}
            made = await client.post(f"{before}{TOKENS}", json=body)
            assert made.status_code == 201
            assert made.headers["location"] == f"/tools{TOKENS}/{made.json()['id']}"
            data = {"token": await make_token()}
            signed_in = await client.post(f"{before}/page/sign-in", data=data)
        assert signed_in.status_code == 303
        assert behind_the_proxy(signed_in.headers["location"], before) == f"{before}/"

    async def test_other_paths_are_not_there(self, make_client: MakeClient) -> None:
        async with make_client(**TOOLS) as client:
            check_problem(await client.get("/toolshed/docs"), 404, "not_found")
            assert (await client.get("/tools/docs")).status_code == 200

    def test_without_a_path_the_document_names_no_server(self, document: dict[str, object]) -> None:
        assert "servers" not in document
