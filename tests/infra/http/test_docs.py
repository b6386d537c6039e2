"""/docs without the internet, and the errors in the OpenAPI document."""

import re
from typing import Any

import httpx
import pytest

from app.features.tokens.errors import ScopeMissing, TokenInvalid
from app.infra.http.docs import ASSETS, OWN
from app.infra.http.problems import API_ERRORS

EXTERNAL = re.compile(r"""(?:https?:)?//[a-z]""")


class TestPage:
    """The page of the documentation loads its own files and nothing else."""

    async def test_it_names_no_other_host_and_has_no_inline_script(
        self, client: httpx.AsyncClient
    ) -> None:
        answer = await client.get("/docs")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert not EXTERNAL.search(answer.text + policy)
        assert all("src=" in tag for tag in re.findall("<script[^>]*>", answer.text))
        assert not re.search(r"\son[a-z]+=|<style", answer.text)

    async def test_every_file_that_it_loads_is_served(self, client: httpx.AsyncClient) -> None:
        types = {**ASSETS, **{name: media_type for name, (_, media_type) in OWN.items()}}
        page = (await client.get("/docs")).text
        loaded = re.findall(r"""(?:src|href)="docs/([^"]+)\"""", page)
        assert sorted(loaded) == sorted(types)
        for name in loaded:
            answer = await client.get(f"/docs/{name}")
            assert (answer.status_code, bool(answer.content)) == (200, True), name
            assert answer.headers["content-type"].partition(";")[0] == types[name]

    @pytest.mark.parametrize("name", ["..%2F__init__.py", "swagger-ui.css.map", "index.html"])
    async def test_no_other_file_is_served(self, client: httpx.AsyncClient, name: str) -> None:
        assert (await client.get(f"/docs/{name}")).status_code == 404

    async def test_it_shows_our_own_document(self, client: httpx.AsyncClient) -> None:
        found = re.search(r'url: "([^"]+)"', (await client.get("/docs/start.js")).text)
        assert found is not None
        # The script fetches it, so it is relative to the page.
        address = httpx.URL("http://testserver/docs").join(found[1])
        assert (await client.get(address)).json()["openapi"].startswith("3.1")

    async def test_a_token_that_is_typed_in_is_not_kept(self, client: httpx.AsyncClient) -> None:
        """Swagger UI keeps it in localStorage, for good, if it is told to persist it."""
        assert "persistAuthorization" not in (await client.get("/docs/start.js")).text

    async def test_it_is_dark_where_people_want_that(self, client: httpx.AsyncClient) -> None:
        page = (await client.get("/docs")).text
        assert '<meta name="color-scheme" content="light dark">' in page
        start = (await client.get("/docs/start.js")).text
        assert 'classList.toggle("dark-mode", dark.matches)' in start
        # The class is Swagger UI's own: another release may name it otherwise.
        assert ".dark-mode" in (await client.get("/docs/swagger-ui.css")).text

    def test_the_newest_feature_comes_first_and_health_last(self, document: dict[str, Any]) -> None:
        tags = [tag["name"] for tag in document["tags"]]
        assert tags[-2:] == ["tokens", "health"]
        used = {
            tag
            for path in document["paths"].values()
            for one in path.values()
            for tag in one["tags"]
        }
        assert sorted(tags) == sorted(used)


class TestDocument:
    """In the OpenAPI document every error of the API is a problem document."""

    def test_every_operation_of_the_api_names_what_all_can_answer(
        self, document: dict[str, Any]
    ) -> None:
        """The errors of a route do not hide those of its router that have the same status."""
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if path.startswith("/api/"):
                    said = " ".join(one["description"] for one in operation["responses"].values())
                    for error in (*API_ERRORS, TokenInvalid, ScopeMissing):
                        assert f"`{error.code}`" in said, (method, path)

    def test_errors_are_problem_json(self, document: dict[str, Any]) -> None:
        problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
        found = [
            answer["content"]
            for path, operations in document["paths"].items()
            for operation in operations.values()
            for status, answer in operation["responses"].items()
            if path.startswith("/api/") and int(status) >= 400
        ]
        assert len(found) > 10
        assert all(content == {"application/problem+json": problem} for content in found)
        assert "HTTPValidationError" not in str(document)  # FastAPI's own 422
        assert "ValidationError" not in document["components"]["schemas"]
        failing = document["paths"]["/health/ready"]["get"]["responses"]["503"]["content"]
        assert failing["application/json"]["schema"] == {"$ref": "#/components/schemas/Report"}

    def test_pages_for_people_are_not_in_it(self, document: dict[str, Any]) -> None:
        assert not {"/", "/docs", "/docs/{name}", "/openapi.json"} & set(document["paths"])
