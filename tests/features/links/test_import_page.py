"""An import through the page: the file goes in, the bar grows, and bad rows are named."""

from uuid import UUID, uuid4

import httpx
import pytest

from app.features.links import imports
from app.features.links.csvfile import read_rows
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.conftest import MakeClient, MakeToken
from tests.features.links.test_page import COOKIE, FILES, HOSTILE, harmless, home
from tests.features.links.uploading import csv_of, work
from tests.pages import Page

LIVE = "/page/live/imports"


@pytest.fixture
async def browser(client: httpx.AsyncClient, make_token: MakeToken) -> httpx.AsyncClient:
    client.cookies[COOKIE] = await make_token()
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
    """The page shows how far it has come, and asks again until it is finished."""

    async def test_from_the_form_to_the_end(
        self, browser: httpx.AsyncClient, resources: Resources
    ) -> None:
        form = (await home(browser)).one("form", action=FILES)
        assert (form.attributes["method"], form.attributes["enctype"]) == (
            "post",
            "multipart/form-data",
        )
        address = await begin(browser, "https://example.com/a,aft,,", "https://example.com/b,bow,,")
        waiting = await home(browser, address)
        assert "It waits for the worker." in waiting.text
        assert bar(waiting) == (0, 2)
        await finish(resources, address)
        page = await home(browser, address)
        assert bar(page) == (2, 2)
        assert "Rows 2 Done 2 Failed 0" in page.text
        assert (await browser.get("/aft")).headers["location"] == "https://example.com/a"

    async def test_half_way(self, browser: httpx.AsyncClient, resources: Resources) -> None:
        lines = [f"https://example.com/{number},row{number},," for number in range(4)]
        address = await begin(browser, *lines)
        rows = list(read_rows(csv_of(*lines), start=2))
        async with transaction(resources.sessions) as session:
            import_id = UUID(address.rpartition("/")[2])
            await imports.apply_batch(session, import_id=import_id, rows=rows[:3], last=False)
        page = await home(browser, address)
        assert bar(page) == (3, 4)
        assert page.one("body").attributes["data-live"] == f"/page/live{address[5:]}"
        assert bar(await home(browser, page.one("body").attributes["data-live"])) == (3, 4)

    async def test_without_scripts_it_loads_itself_again_until_the_end(
        self, browser: httpx.AsyncClient, resources: Resources
    ) -> None:
        address = await begin(browser, "https://example.com/,deck,,")
        page = await home(browser, address)
        tags = [element.tag for element in page.elements]
        refresh = page.one("meta", **{"http-equiv": "refresh"})
        assert tags[page.elements.index(refresh) - 1] == "noscript"
        await finish(resources, address)
        finished = await home(browser, address)
        assert not finished.all("meta", **{"http-equiv": "refresh"})
        assert "data-live" not in finished.one("body").attributes

    async def test_rows_that_failed_are_named(
        self, browser: httpx.AsyncClient, resources: Resources
    ) -> None:
        address = await begin(browser, "nowhere,bad,,", "https://example.com/,good,,")
        await finish(resources, address)
        page = await home(browser, address)
        assert "Imported, but not every row" in page.text
        assert "Rows 2 Done 1 Failed 1" in page.text
        assert "2 url:" in page.text

    async def test_the_first_fifty_of_them(
        self, browser: httpx.AsyncClient, resources: Resources
    ) -> None:
        address = await begin(browser, *[f"nowhere,row{number},," for number in range(60)])
        await finish(resources, address)
        page = await home(browser, address)
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

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            (b"", "The header must name url"),
            (b"slug,title\na,b\n", "The header must name url"),
            (b"url\n", "no rows below its header"),
            (b"\x00\x01\x02\xff", "The header is not UTF-8"),
            (b"<html>", "The header must name url"),
        ],
    )
    async def test_what_is_no_csv(
        self, browser: httpx.AsyncClient, source: bytes, said: str
    ) -> None:
        answer = await send(browser, source)
        assert answer.status_code == 422
        assert said in Page(answer.text).text

    @pytest.mark.parametrize("extra", [1, 100_000])
    async def test_what_is_too_large(
        self, make_client: MakeClient, make_token: MakeToken, extra: int
    ) -> None:
        async with make_client(max_upload_bytes=4096) as browser:
            browser.cookies[COOKIE] = await make_token()
            answer = await send(browser, csv_of("x" * (4096 + extra)))
        assert answer.status_code == 413
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-store"

    async def test_a_form_without_a_file(self, browser: httpx.AsyncClient) -> None:
        answer = await browser.post(FILES, files={"other": b"x"})
        assert answer.status_code == 422
        assert "The form has no file." in Page(answer.text).text

    async def test_another_kind_of_body(self, browser: httpx.AsyncClient) -> None:
        answer = await browser.post(FILES, json={})
        assert answer.status_code == 415
        assert answer.headers["content-type"].startswith("text/html")


class TestGuard:
    """An import's page is for those who may read links."""

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

    async def test_from_another_site_it_can_be_opened(self, browser: httpx.AsyncClient) -> None:
        address = await begin(browser, "https://example.com/,deck,,")
        answer = await browser.get(address, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 200


def bar(page: Page) -> tuple[int, int]:
    attributes = page.one("progress").attributes
    return int(attributes["value"]), int(attributes["max"])
