"""Imports: the result of each row, and that a second import changes nothing."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from app.features.links import imports
from app.features.links.imports import derive_slug
from app.features.links.models import ImportPiece
from app.features.links.service import ALPHABET
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import IMPORTS, LINKS, MakeLink
from tests.features.links.uploading import csv_of, imported, result, upload, work
from tests.problems import check_problem


async def links(api: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    page = (await api.get(LINKS, params={"limit": "100"})).json()
    return {item["slug"]: item for item in page["items"]}


class TestRows:
    """A valid row becomes a link. Another one is reported with its number and the reason."""

    async def test_rows_become_links(self, api: httpx.AsyncClient, resources: Resources) -> None:
        found = await imported(
            api,
            resources,
            "https://example.com/1,one,The first,2099-12-31T23:00:00+01:00",
            "https://example.com/2,two,,",
            "https://example.com/3,,,",
        )
        assert {**found, "id": ""} == {
            "id": "",
            "status": "finished",
            "total": 3,
            "done": 3,
            "failed": 0,
            "failure": None,
            "errors": [],
            "next_errors_after": None,
        }
        made = await links(api)
        assert (made["one"]["title"], made["one"]["expires_at"]) == (
            "The first",
            "2099-12-31T22:00:00Z",
        )
        assert (made["two"]["title"], made["two"]["expires_at"]) == (None, None)
        derived = made[derive_slug("https://example.com/3", 8)]
        assert derived["url"] == "https://example.com/3"
        for link in made.values():
            assert (await api.get(f"/{link['slug']}")).headers["location"] == link["url"]

    async def test_faults_are_told_by_row(
        self, api: httpx.AsyncClient, resources: Resources, make_link: MakeLink
    ) -> None:
        await make_link(slug="taken", url="https://example.com/other")
        found = await imported(
            api,
            resources,
            "https://example.com/1,one,,",
            "https://example.com/2,two",
            "",
            "javascript:alert(1),three,,",
            "https://example.com/4,taken,,",
            ",five,,",
            "https://example.com/6,x,,2001-01-01T00:00:00Z",
            "https://example.com/7,seven,,",
        )
        assert (found["total"], found["done"], found["failed"]) == (7, 2, 5)
        faults = {fault["row"]: (fault["code"], fault["detail"]) for fault in found["errors"]}
        assert list(faults) == [3, 5, 6, 7, 8]
        assert faults[3] == ("row_malformed", "the row has 2 fields where the header has 4")
        assert faults[5][0] == "validation_failed"
        assert faults[5][1] == "url: must begin with https:// or http:// and a host"
        assert faults[6] == ("slug_taken", "slug: 'taken' is taken")
        assert faults[7] == ("validation_failed", "url: Field required")
        assert faults[8][1].startswith("slug: ")
        assert "; expires_at: must lie in the future" in faults[8][1]
        assert set(await links(api)) == {"taken", "one", "seven"}

    async def test_a_title_may_end_in_a_line_break_and_may_contain_none(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        found = await imported(
            api,
            resources,
            'https://example.com/1,one,"First\r\n",',
            'https://example.com/2,two,"Two\nlines",',
            "https://example.com/3,three,,",
        )
        assert (found["total"], found["done"], found["failed"]) == (3, 2, 1)
        [fault] = found["errors"]
        assert fault["row"] == 4
        assert fault["detail"] == "title: must not contain control characters"
        assert {slug: link["title"] for slug, link in (await links(api)).items()} == {
            "one": "First",
            "three": None,
        }

    async def test_rows_may_repeat(self, api: httpx.AsyncClient, resources: Resources) -> None:
        row = "https://example.com/1,one,,"
        found = await imported(api, resources, row, row, "https://example.com/2,,,", *[row] * 3)
        assert (found["done"], found["failed"]) == (6, 0)
        assert len(await links(api)) == 2

    async def test_of_two_rows_with_one_slug_the_first_has_it(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        slugs = [f"slug-{number * 37 % 50}" for number in range(100)]  # each twice, in disorder
        rows = [f"https://example.com/{row},{slug},," for row, slug in enumerate(slugs, start=2)]
        found = await imported(api, resources, *rows)
        assert [fault["row"] for fault in found["errors"]] == list(range(52, 102))
        expected = {slug: f"https://example.com/{row}" for row, slug in enumerate(slugs[:50], 2)}
        assert {slug: link["url"] for slug, link in (await links(api)).items()} == expected


class TestAgain:
    """A second import of a file changes nothing: a row whose link exists counts as done."""

    async def test_links_stay_as_they_are(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        rows = ["https://example.com/1,one,First,", "https://example.com/2,,,"]
        await imported(api, resources, *rows)
        await api.patch(f"{LINKS}/one", json={"title": "Changed"})
        before = await links(api)
        found = await imported(api, resources, *rows)
        assert (found["done"], found["failed"]) == (2, 0)
        assert await links(api) == before


class TestDerivedSlugs:
    """A row without a slug gets one made from its URL, the same each time."""

    @given(st.text(), st.integers(2, 22))
    def test_it_is_a_slug(self, url: str, length: int) -> None:
        slug = derive_slug(url, length)
        assert slug == derive_slug(url, length)
        assert len(slug) == length
        assert set(slug) <= set(ALPHABET)
        assert derive_slug(url, length + 1).startswith(slug)

    async def test_a_longer_one_is_taken_where_another_url_has_it(
        self, api: httpx.AsyncClient, resources: Resources, make_link: MakeLink
    ) -> None:
        url = "https://example.com/mine"
        await make_link(slug=derive_slug(url, 8), url="https://example.com/theirs")
        for _ in range(2):
            found = await imported(api, resources, f"{url},,,")
            assert (found["done"], found["failed"]) == (1, 0)
        assert (await links(api))[derive_slug(url, 12)]["url"] == url
        assert len(await links(api)) == 2

    async def test_when_all_of_them_are_taken_the_row_is_reported(
        self, api: httpx.AsyncClient, resources: Resources, make_link: MakeLink
    ) -> None:
        url = "https://example.com/mine"
        for length in imports.DERIVED_LENGTHS:
            await make_link(slug=derive_slug(url, length), url="https://example.com/theirs")
        found = await imported(api, resources, f"{url},,,")
        assert [(fault["row"], fault["code"]) for fault in found["errors"]] == [(2, "slug_taken")]


class TestErrorsInPages:
    """Many errors come in pages, in the order of the file."""

    async def test_pages_neither_repeat_nor_skip(
        self, api: httpx.AsyncClient, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(imports, "ERRORS_A_PAGE", 3)
        job = await upload(api, *["no url,,,"] * 7)
        await work(resources, job)
        seen: list[int] = []
        after: int | None = 0
        while after is not None:
            found = await result(api, job, errors_after=str(after))
            assert len(found["errors"]) <= 3
            assert found["failed"] == 7
            seen += [fault["row"] for fault in found["errors"]]
            after = found["next_errors_after"]
        assert seen == list(range(2, 9))


class TestRead:
    """An import is found by its id, and its file is kept until the last row is done."""

    async def test_an_unknown_one_is_404(self, api: httpx.AsyncClient) -> None:
        check_problem(await api.get(f"{IMPORTS}/{uuid4()}"), 404, "import_not_found")
        check_problem(await api.get(f"{IMPORTS}/first"), 422, "validation_failed")

    async def test_the_file_is_dropped_with_the_last_row(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        job = await upload(api, "https://example.com/,one,,")
        assert await source_of(resources) == [csv_of("https://example.com/,one,,")]
        await work(resources, job)
        assert await source_of(resources) == []


async def source_of(resources: Resources) -> list[bytes]:
    async with transaction(resources.sessions) as session:
        return list(await session.scalars(select(ImportPiece.content)))
