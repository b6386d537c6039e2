"""The form and the list of links on the page, without scripts."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import update

from app.features.links.models import Link
from app.features.links.scopes import LINKS_READ, LINKS_WRITE
from app.infra.db import transaction
from app.infra.lifespan import Resources
from app.printable import escape_controls
from tests.conftest import MakeClient, MakeToken
from tests.features.links.conftest import MakeLink, RollUp
from tests.pages import Page

FORM = "/page/links"
FILES = "/page/imports"
COOKIE = "drydock-80"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></textarea></noscript><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% include 'page/base.html' %}",
    "javascript:alert(1)",
]


@pytest.fixture
async def browser(client: httpx.AsyncClient, make_token: MakeToken) -> httpx.AsyncClient:
    """A browser that is signed in, with a token that may do everything."""
    answer = await client.post("/page/sign-in", data={"token": await make_token()})
    assert answer.status_code == 303
    return client


async def home(browser: httpx.AsyncClient, path: str = "/") -> Page:
    answer = await browser.get(path)
    assert answer.status_code == 200
    return Page(answer.text)


def harmless(page: Page) -> bool:
    """Whether it runs and loads our own files only, and nothing that was typed."""
    return {element.attributes.get("src", "?")[:8] for element in page.active()} == {"/static/"}


class TestCreate:
    """The form makes a link and returns to the overview, or names the faults."""

    async def test_with_everything(self, browser: httpx.AsyncClient) -> None:
        [form] = (await home(browser)).forms(FORM)
        assert form.attributes["method"] == "post"
        data = {"url": " https://example.com/a ", "slug": "deck", "title": "Main deck"}
        answer = await browser.post(FORM, data=data)
        assert (answer.status_code, answer.headers["location"]) == (303, "/?made=deck#links")
        page = await home(browser, answer.headers["location"])
        assert "Your link is http://testserver/deck" in page.text
        assert "/deck Main deck" in page.text
        followed = await browser.get("/deck")
        assert (followed.status_code, followed.headers["location"]) == (
            302,
            "https://example.com/a",
        )

    async def test_an_address_can_put_no_words_on_the_page(
        self, browser: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        page = await home(browser, "/?made=call-0800-12345")
        assert "call-0800" not in page.text
        assert "Your link is" not in page.text

    @pytest.mark.parametrize(
        ("data", "field", "said"),
        [
            ({}, "url", "is required"),
            ({"url": "javascript:alert(1)"}, "url", "must begin with https://"),
            ({"url": "https://a:b@example.com/"}, "url", "must not contain credentials"),
            ({"url": "https://example.com/", "slug": "a b"}, "slug", "must be 2 to 64 letters"),
            ({"url": "https://example.com/", "slug": "page"}, "slug", "is reserved"),
            ({"url": "https://example.com/", "title": "x" * 201}, "title", "at most 200"),
            ({"url": "https://example.com/", "title": "a\x00b"}, "title", "control characters"),
        ],
    )
    async def test_what_is_wrong_stands_beside_its_field(
        self, browser: httpx.AsyncClient, data: dict[str, str], field: str, said: str
    ) -> None:
        answer = await browser.post(FORM, data=data)
        page = Page(answer.text)
        wrong = page.one("input", name=field).attributes
        assert answer.status_code == 422
        assert said in page.text
        assert wrong["aria-invalid"] == "true"
        assert f"link-{field}-fault" in wrong["aria-describedby"]
        assert page.one("p", id=f"link-{field}-fault")
        for name, text in data.items():
            assert page.one("input", name=name).attributes["value"] == escape_controls(text.strip())

    async def test_a_slug_that_is_taken(
        self, browser: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        await make_link(slug="deck")
        answer = await browser.post(FORM, data={"url": "https://example.com/b", "slug": "deck"})
        assert answer.status_code == 409
        page = Page(answer.text)
        assert "is taken" in page.text
        assert page.one("input", name="url").attributes["value"] == "https://example.com/b"

    @pytest.mark.parametrize("text", HOSTILE)
    async def test_hostile_text_is_only_text(self, browser: httpx.AsyncClient, text: str) -> None:
        refused = await browser.post(FORM, data={"url": text, "slug": text, "title": text})
        assert refused.status_code == 422
        assert Page(refused.text).one("input", name="title").attributes["value"] == text
        assert harmless(Page(refused.text))
        url = "https://example.com/?q='onclick=alert(1)//"
        made = await browser.post(FORM, data={"url": url, "title": text})
        page = await home(browser, made.headers["location"])
        assert " ".join(text.split()) in page.text
        assert harmless(page)


class TestGuard:
    """A form needs a token with the scope, and must be sent from our own pages."""

    @pytest.mark.parametrize("path", [FORM, FILES])
    async def test_a_token_with_links_write_is_needed(
        self, client: httpx.AsyncClient, make_session: MakeToken, path: str
    ) -> None:
        stranger = await client.post(path, data={"url": "https://example.com/"})
        assert stranger.status_code == 401
        assert "Sign in with a token first" in Page(stranger.text).text
        client.cookies[COOKIE] = await make_session(LINKS_READ)
        reader = await client.post(path, data={"url": "https://example.com/"})
        assert reader.status_code == 403
        assert not (await home(client)).forms(path)
        client.cookies[COOKIE] = await make_session(LINKS_WRITE)
        page = await home(client)
        assert page.forms(path)
        assert "lacks the scope links:read" in page.text

    async def test_a_stranger_sees_no_links(
        self, client: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        await make_link(slug="deck")
        del client.headers["Authorization"]
        assert "deck" not in (await client.get("/?made=deck")).text

    @pytest.mark.parametrize("path", [FORM, FILES])
    async def test_another_site_can_send_nothing(
        self, browser: httpx.AsyncClient, path: str
    ) -> None:
        data = {"url": "https://example.com/", "slug": "forged"}
        answer = await browser.post(path, data=data, headers={"Sec-Fetch-Site": "same-site"})
        assert answer.status_code == 403
        assert (await browser.get("/forged")).status_code == 404

    async def test_writing_is_limited_as_over_the_api(
        self, make_client: MakeClient, make_session: MakeToken
    ) -> None:
        async with make_client(rate_limit_write="2/minute") as client:
            client.cookies[COOKIE] = await make_session()
            statuses = [
                (await client.post(FORM, data={"url": "https://example.com/"})).status_code
                for _ in range(3)
            ]
        assert statuses == [303, 303, 429]

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/json", b'{"url": "https://example.com/"}'),
            ("multipart/form-data", b"no boundary"),
            ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
            (
                "multipart/form-data; boundary=x",
                b'--x\r\nContent-Disposition: form-data; name="url"; filename="a"\r\n\r\n\r\n--x--',
            ),
            ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(50))),
            ("application/x-www-form-urlencoded", b"url=%ff%00"),
        ],
    )
    async def test_what_is_no_form_is_refused_on_a_page(
        self, browser: httpx.AsyncClient, kind: str, body: bytes
    ) -> None:
        answer = await browser.post(FORM, content=body, headers={"Content-Type": kind})
        assert answer.status_code in {400, 422}
        assert answer.headers["content-type"].startswith("text/html")


class TestList:
    """The list shows clicks, and which links have expired."""

    async def test_clicks_are_shown_and_an_expired_link_is_marked(
        self,
        browser: httpx.AsyncClient,
        make_link: MakeLink,
        roll_up: RollUp,
        resources: Resources,
    ) -> None:
        await make_link(slug="deck")
        for _ in range(3):
            await browser.get("/deck")
        await roll_up()
        (chart,) = (await home(browser)).all("svg")
        assert chart.attributes["aria-label"] == "3 clicks in the last 24 hours"
        past = datetime.now(UTC) - timedelta(minutes=1)
        async with transaction(resources.sessions) as session:
            await session.execute(update(Link).values(expires_at=past))
        assert "/deck expired" in (await home(browser)).text
