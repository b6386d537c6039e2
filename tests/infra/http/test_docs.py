"""/docs without the internet, and the errors in the OpenAPI document."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.infra.http.docs import ASSETS

EXTERNAL = re.compile(r"""(?:https?:)?//[a-z]""")


class TestPage:
    """The page of the documentation needs nothing from elsewhere, and may load nothing else."""

    async def test_it_names_nothing_outside_and_has_no_inline_script(
        self, client: httpx.AsyncClient
    ) -> None:
        answer = await client.get("/docs")
        start = await client.get("/docs/start.js")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert not EXTERNAL.search(answer.text + start.text)
        assert all("src=" in tag for tag in re.findall("<script[^>]*>", answer.text))
        assert not re.search(r"\son[a-z]+=|<style", answer.text)

    async def test_its_policy_allows_only_ourselves(self, client: httpx.AsyncClient) -> None:
        policy = directives((await client.get("/docs")).headers["content-security-policy"])
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert not EXTERNAL.search(str(policy))

    async def test_every_file_that_it_loads_is_served(self, client: httpx.AsyncClient) -> None:
        types = {**ASSETS, "start.js": "text/javascript"}
        page = (await client.get("/docs")).text
        loaded = re.findall(r"""(?:src|href)="docs/([^"]+)\"""", page)
        assert sorted(loaded) == sorted(types)
        for name in loaded:
            answer = await client.get(f"/docs/{name}")
            assert (answer.status_code, bool(answer.content)) == (200, True), name
            assert answer.headers["content-type"].partition(";")[0] == types[name]

    @pytest.mark.parametrize("name", ["..%2F__init__.py", "swagger-ui.css.map", "index.html"])
    async def test_no_other_file_is(self, client: httpx.AsyncClient, name: str) -> None:
        assert (await client.get(f"/docs/{name}")).status_code == 404

    async def test_it_starts_from_our_own_document(self, client: httpx.AsyncClient) -> None:
        start = (await client.get("/docs/start.js")).text
        found = re.search(r'url: "([^"]+)"', start)
        assert found is not None
        address = httpx.URL("http://testserver/docs/start.js").join(found[1])
        assert (await client.get(address)).json()["openapi"].startswith("3.1")


def directives(policy: str) -> dict[str, str]:
    parts = [part.strip().partition(" ") for part in policy.split(";")]
    return {name: value for name, _, value in parts}


class TestDocument:
    """Every error in the OpenAPI document is a problem document."""

    def test_errors_are_problem_json(self, document: dict[str, Any]) -> None:
        checked = 0
        for path, status, answer in answers(document):
            if path.startswith("/api/") and int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, (path, status)
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}
                checked += 1
        assert checked > 10

    def test_fastapis_own_422_is_gone(self, document: dict[str, Any]) -> None:
        assert "HTTPValidationError" not in str(document)
        assert "ValidationError" not in document["components"]["schemas"]

    def test_health_answers_its_report_with_503_too(self, document: dict[str, Any]) -> None:
        failing = document["paths"]["/health/ready"]["get"]["responses"]["503"]["content"]
        assert failing["application/json"]["schema"] == {"$ref": "#/components/schemas/Report"}

    def test_pages_for_people_are_not_in_it(self, document: dict[str, Any]) -> None:
        assert not {"/", "/docs", "/docs/{name}", "/openapi.json"} & set(document["paths"])


def answers(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                yield path, status, answer
