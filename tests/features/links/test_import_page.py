"""Imports on the page: the form, the progress, and the rows that failed."""

from uuid import UUID, uuid4

import httpx
import pytest

from app.features.links import imports
from app.features.links.csvfile import CsvReader
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.conftest import MakeClient, MakeToken
from tests.features.links.test_page import COOKIE, FILES, HOSTILE, harmless, home
from tests.features.links.uploading import csv_of, work
from tests.pages import Page

LIVE = "/page/live/imports"


@pytest.fixture
async def browser(client: httpx.AsyncClient, make_session: MakeToken) -> httpx.AsyncClient:
    client.cookies[COOKIE] = await make_session()
    return client


async def send(browser: httpx.AsyncClient, source: bytes) -> httpx.Response:
    """As a browser sends what was chosen in the form."""
    return await browser.post(FILES, files={"file": ("links.csv", source, "text/csv")})


async def begin(browser: httpx.AsyncClient, *lines: str) -> str:
    """Send a file. Returns the address of the import's page."""
    answer = await send(browser, csv_of(*lines))
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def finish(resources: Resources, address: str) -> None:
    await work(resources, {"id": address.rpartition("/")[2]})


class TestProgress:
    """The page shows the progress, and polls until the import is finished."""

    async def test_from_the_form_to_the_end(
        self, browser: httpx.AsyncClient, resources: Resources
    ) -> None:
        [form] = (element.attributes for element in (await home(browser)).forms(FILES))
        assert (form["method"], form["enctype"]) == ("post", "multipart/form-data")
        lines = [f"https://example.com/{number},row{number},," for number in range(4)]
        address = await begin(browser, *lines)
        waiting = await home(browser, address)
        assert "It waits for the worker." in waiting.text
        assert bar(waiting) == (0, 4)
        # Without scripts the page loads itself again until the import is finished.
        tags = [element.tag for element in waiting.elements]
        refresh = waiting.one("meta", **{"http-equiv": "refresh"})
        assert tags[waiting.elements.index(refresh) - 1] == "noscript"

        import_id = UUID(address.rpartition("/")[2])
        rows = list(CsvReader().rows(csv_of(*lines), last=True))
        async with transaction(resources.sessions) as session:
            await imports.apply_batch(session, import_id=import_id, rows=rows[:3])
        live = waiting.one("body").attributes["data-live"]
        assert bar(await home(browser, live)) == (3, 4)

        await finish(resources, address)
        finished = await home(browser, address)
        assert bar(finished) == (4, 4)
        assert "Rows 4 Done 4 Failed 0" in finished.text
        assert not finished.all("meta", **{"http-equiv": "refresh"})
        assert "data-live" not in finished.one("body").attributes

    async def test_the_first_fifty_rows_that_failed_are_named(
        self, browser: httpx.AsyncClient, resources: Resources
    ) -> None:
        failed = [f"nowhere,row{number},," for number in range(60)]
        address = await begin(browser, *failed, "https://example.com/,good,,")
        await finish(resources, address)
        page = await home(browser, address)
        assert "Imported, but not every row" in page.text
        assert "Rows 61 Done 1 Failed 60" in page.text
        assert "2 url:" in page.text
        assert len(page.all("th", scope="row")) == 50
        assert "The first 50 of 60." in page.text

    @pytest.mark.parametrize("text", HOSTILE)
    async def test_hostile_rows_are_only_text(
        self, browser: httpx.AsyncClient, resources: Resources, text: str
    ) -> None:
        quoted = '"' + text.replace('"', '""') + '"'
        address = await begin(
            browser, f"{quoted},{quoted},{quoted},{quoted}", f"https://example.com/,deck,{quoted},"
        )
        await finish(resources, address)
        assert harmless(await home(browser, address))
        assert harmless(await home(browser))


class TestFile:
    """What can't be imported is refused on a page that says why."""

    async def test_what_is_no_file_with_links(self, browser: httpx.AsyncClient) -> None:
        for sent, status, said in (
            ({"files": {"file": b"slug,title\na,b\n"}}, 422, "The header must name url"),
            ({"files": {"other": b"x"}}, 422, "The form has no file."),
            ({"json": {}}, 415, "Send text/csv"),
        ):
            answer = await browser.post(FILES, **sent)
            assert answer.status_code == status
            assert said in Page(answer.text).text

    @pytest.mark.parametrize(
        ("extra", "said"), [(1, "more than 4096 bytes: split it"), (100_000, "larger than this")]
    )
    async def test_what_is_too_large(
        self, make_client: MakeClient, make_session: MakeToken, extra: int, said: str
    ) -> None:
        async with make_client(max_upload_bytes=4096) as browser:
            browser.cookies[COOKIE] = await make_session()
            answer = await send(browser, csv_of("x" * (4096 + extra)))
        assert answer.status_code == 413
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-store"
        assert said in Page(answer.text).text


class TestGuard:
    """The page of an import needs links:read."""

    @pytest.mark.parametrize("path", [FILES, LIVE])
    async def test_a_stranger(self, client: httpx.AsyncClient, path: str) -> None:
        assert (await client.get(f"{path}/{uuid4()}")).status_code == 401

    @pytest.mark.parametrize(("number", "status"), [(str(UUID(int=7)), 404), ("1", 422)])
    async def test_one_that_is_not_there(
        self, browser: httpx.AsyncClient, number: str, status: int
    ) -> None:
        answer = await browser.get(f"{FILES}/{number}")
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")


def bar(page: Page) -> tuple[int, int]:
    attributes = page.one("progress").attributes
    return int(attributes["value"]), int(attributes["max"])
