"""What is sent again with its Idempotency-Key, or by the same form, makes no second link."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.features.links.scopes import LINKS_READ, LINKS_WRITE
from tests.conftest import MakeToken
from tests.features.links.conftest import IMPORTS, LINKS, RollUp
from tests.features.links.test_page import COOKIE
from tests.live import Live
from tests.pages import Page
from tests.problems import check_problem

URL = "https://example.com/once"


async def post(api: httpx.AsyncClient, key: str, **fields: Any) -> httpx.Response:
    body = {"url": URL, **fields}
    return await api.post(LINKS, json=body, headers={"Idempotency-Key": key})


async def made(api: httpx.AsyncClient) -> int:
    return len((await api.get(LINKS)).json()["items"])


class TestSentAgain:
    """The same request with the same key is answered with the link that it made."""

    async def test_it_is_the_same_answer(self, api: httpx.AsyncClient) -> None:
        first, again = await post(api, "a"), await post(api, "a")
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        assert again.headers["location"] == first.headers["location"]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert await made(api) == 1

    async def test_it_shows_no_change_made_since(
        self, api: httpx.AsyncClient, client: httpx.AsyncClient, roll_up: RollUp
    ) -> None:
        first = (await post(api, "a", title="at first")).json()
        address = f"{LINKS}/{first['slug']}"
        changed = {"title": None, "url": "https://example.com/secret"}
        await api.patch(address, json=changed)
        await client.get(f"/{first['slug']}")
        await roll_up()
        now = (await api.get(address)).json()
        assert (now["clicks"], now["url"], now["title"]) == (1, changed["url"], None)
        assert (await post(api, "a", title="at first")).json() == first

    async def test_a_deleted_link_is_not_made_again(self, api: httpx.AsyncClient) -> None:
        first = await post(api, "a")
        await api.delete(first.headers["location"])
        assert (await post(api, "a")).json() == first.json()
        assert await made(api) == 0

    async def test_with_a_slug_of_ones_choice_too(self, api: httpx.AsyncClient) -> None:
        assert (await post(api, "a", slug="deck")).status_code == 201
        assert (await post(api, "a", slug="deck")).json()["slug"] == "deck"
        check_problem(await post(api, "b", slug="deck"), 409, "slug_taken")


class TestAnotherRequest:
    """A key stands for one request of one token."""

    async def test_other_data_is_refused(self, api: httpx.AsyncClient) -> None:
        first = await post(api, "a")
        check_problem(await post(api, "a", title="other"), 422, "idempotency_key_reused")
        assert (await post(api, "a")).json() == first.json()

    async def test_another_key_or_none_makes_another_link(self, api: httpx.AsyncClient) -> None:
        assert (await post(api, "a")).json() != (await post(api, "b")).json()
        for _ in range(2):
            assert (await api.post(LINKS, json={"url": URL})).status_code == 201
        assert await made(api) == 4

    async def test_another_token_may_use_the_same_key(
        self, api: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        first = await post(api, "a")
        api.headers["Authorization"] = f"Bearer {await make_token(LINKS_WRITE)}"
        other = await post(api, "a")
        assert other.json()["slug"] != first.json()["slug"]

    @pytest.mark.parametrize("key", ["", "x" * 256, "two words", "caf\u00e9"])
    async def test_a_key_that_is_none_is_named(self, api: httpx.AsyncClient, key: str) -> None:
        headers = {b"Idempotency-Key": key.encode("latin-1")}
        answer = await api.post(LINKS, json={"url": URL}, headers=headers)
        problem = check_problem(answer, 422, "validation_failed")
        assert problem["errors"][0]["field"] == "header.Idempotency-Key"


class TestImport:
    """A file that is sent again with its key is the same import, whatever form it is sent in."""

    async def test_in_forms_with_other_boundaries(self, api: httpx.AsyncClient) -> None:
        async def send(csv: str) -> httpx.Response:
            files = {"file": ("links.csv", csv, "text/csv")}
            return await api.post(IMPORTS, files=files, headers={"Idempotency-Key": "a"})

        first, again = [await send(f"url\n{URL}\n") for _ in range(2)]
        assert (first.status_code, again.content) == (202, first.content)
        assert again.headers["location"] == first.headers["location"]
        assert again.headers["idempotency-replayed"] == "true"
        check_problem(await send(f"url\n{URL}/2\n"), 422, "idempotency_key_reused")


class TestForm:
    """A form of the page that is sent twice makes one link or one import."""

    async def test_each(self, client: httpx.AsyncClient, make_session: MakeToken) -> None:
        client.cookies[COOKIE] = await make_session()
        page = Page((await client.get("/")).text)
        [links] = (form.attributes["action"] for form in page.forms("/page/links"))
        [imports] = (form.attributes["action"] for form in page.forms("/page/imports"))
        file = {"file": ("links.csv", f"url\n{URL}\n", "text/csv")}
        answers = [
            *[await client.post(links, data={"url": URL}) for _ in range(2)],
            *[await client.post(imports, files=file) for _ in range(2)],
        ]
        assert {answer.status_code for answer in answers} == {303}
        places = [answer.headers["location"] for answer in answers]
        assert places[0] == places[1] != places[2] == places[3]
        other = await client.post(links, data={"url": f"{URL}/2"})
        assert other.headers["location"] not in places

    async def test_a_form_with_a_fault_can_be_corrected(
        self, client: httpx.AsyncClient, make_session: MakeToken
    ) -> None:
        client.cookies[COOKIE] = await make_session()
        form = f"/page/links?key={'0' * 32}"
        assert (await client.post(form, data={"url": "x"})).status_code == 422
        assert (await client.post(form, data={"url": "x"})).status_code == 422
        assert (await client.post(form, data={"url": URL})).status_code == 303


class TestAtOnce:
    """Simultaneous requests with one key make one link."""

    async def test_ten_times(self, live: Live) -> None:
        await live.sign_in(LINKS_WRITE, LINKS_READ)
        key = str(uuid4())
        answers = await asyncio.gather(*(post(live.client, key) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["slug"] for answer in answers}) == 1
        replayed = [answer for answer in answers if "idempotency-replayed" in answer.headers]
        assert len(replayed) == 9
        assert await made(live.client) == 1
