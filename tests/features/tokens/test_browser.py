"""A browser's session: no script reads its cookie, the server ends it, the API ignores it."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from http.cookies import Morsel, SimpleCookie
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, text, update

from app.features.tokens.known import known_tokens
from app.features.tokens.models import BrowserSession
from app.features.tokens.scopes import TOKENS_WRITE
from app.features.tokens.service import revoke_token
from app.features.tokens.tasks import purge_sessions
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.conftest import MakeClient, MakeToken
from tests.features.tokens.conftest import COOKIE, TOKENS
from tests.features.tokens.test_families import child_of, id_of
from tests.logs import captured_logs, named
from tests.pages import Page
from tests.statements import counted_statements

SIGN_IN, SIGN_OUT = "/page/sign-in", "/page/sign-out"


def cookie_of(answer: httpx.Response) -> "Morsel[str]":
    (found,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return found


async def revoke(resources: Resources, token: str) -> None:
    async with transaction(resources.sessions) as session:
        token_id = UUID(token.split("_")[1])
        revoked = await revoke_token(session, token_id=token_id, by=token_id)
    known_tokens(resources).forget(revoked)


async def age(resources: Resources, **columns: timedelta) -> None:
    """Move times of all sessions into the past."""
    values = {name: getattr(BrowserSession, name) - by for name, by in columns.items()}
    async with transaction(resources.sessions) as session:
        await session.execute(update(BrowserSession).values(**values))
    known_tokens(resources)._known.clear()


async def open_sessions(resources: Resources) -> int:
    async with transaction(resources.sessions) as session:
        return await session.scalar(select(func.count()).select_from(BrowserSession)) or 0


class TestSignIn:
    """A form takes the token and leads back to the overview, which then knows who looks."""

    async def test_without_scripts(self, client: httpx.AsyncClient, make_token: MakeToken) -> None:
        before = Page((await client.get("/")).text)
        form = before.one("form", action=SIGN_IN)
        assert form.attributes["method"] == "post"
        answer = await client.post(SIGN_IN, data={"token": f" {await make_token(name='Ada')}\n"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        after = Page((await client.get("/")).text)
        assert "Signed in as Ada" in after.text
        assert not after.all("form", action=SIGN_IN)

    @pytest.mark.parametrize(
        ("public_url", "name", "secure"),
        [
            ("http://testserver", "drydock-80", ""),
            ("http://127.0.0.1:8001", "drydock-8001", ""),
            ("https://go.example.com", "__Host-drydock", True),
        ],
    )
    async def test_the_cookie_is_out_of_reach(
        self,
        make_client: MakeClient,
        make_token: MakeToken,
        public_url: str,
        name: str,
        secure: Any,
    ) -> None:
        token = await make_token()
        async with make_client(public_url=public_url) as client:
            cookie = cookie_of(await client.post(SIGN_IN, data={"token": token}))
        assert (cookie.key, cookie["secure"]) == (name, secure)
        assert re.fullmatch("[0-9a-f]{64}", cookie.value)
        assert cookie.value not in token  # the API key stays out of the browser
        assert (cookie["httponly"], cookie["samesite"]) == (True, "strict")
        assert (cookie["path"], cookie["domain"], cookie["max-age"]) == ("/", "", "")

    @pytest.mark.parametrize(
        "text", ["", "nonsense", f"drydock_{'0' * 32}_{'0' * 64}", "\x00", "<b>"]
    )
    async def test_what_is_no_token_is_refused(self, client: httpx.AsyncClient, text: str) -> None:
        answer = await client.post(SIGN_IN, data={"token": text})
        field = Page(answer.text).one("input", name="token").attributes
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert field["aria-invalid"] == "true"
        assert "value" not in field

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/json", b'{"token": "x"}'),
            ("application/x-www-form-urlencoded", b"token=%ff%fe"),
            ("application/x-www-form-urlencoded", b"token=a&token=b"),
        ],
    )
    async def test_nor_is_what_is_no_form(
        self, client: httpx.AsyncClient, kind: str, body: bytes
    ) -> None:
        answer = await client.post(SIGN_IN, content=body, headers={"Content-Type": kind})
        assert answer.status_code in {401, 422}
        assert answer.headers["content-type"].startswith("text/html")
        assert "set-cookie" not in answer.headers

    async def test_guessing_is_limited_by_address(self, make_client: MakeClient) -> None:
        async with make_client(rate_limit_login="1/minute") as client:
            tried = [await client.post(SIGN_IN, data={"token": "x"}) for _ in range(2)]
        assert [answer.status_code for answer in tried] == [401, 429]

    async def test_another_site_can_sign_nobody_in(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        headers = {"Origin": "http://evil.example"}
        answer = await client.post(SIGN_IN, data={"token": await make_token()}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers

    async def test_each_time_makes_another_session_and_ends_the_one_before(
        self, client: httpx.AsyncClient, make_token: MakeToken, resources: Resources
    ) -> None:
        token = await make_token(name="Ada")
        secrets = []
        for _ in range(2):
            await client.post(SIGN_IN, data={"token": token})
            secrets.append(client.cookies[COOKIE])
        assert await open_sessions(resources) == 1
        client.cookies[COOKIE] = secrets[0]
        assert "Signed in" not in (await client.get("/")).text

    async def test_only_the_hash_of_the_secret_is_stored(
        self, make_session: MakeToken, resources: Resources
    ) -> None:
        secret = await make_session()
        async with transaction(resources.sessions) as session:
            (row,) = await session.scalars(text("SELECT s::text FROM browser_sessions s"))
        assert secret not in row
        assert hashlib.sha256(bytes.fromhex(secret)).hexdigest() in row

    async def test_it_counts_against_the_limit_of_the_token(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        token = await make_token()
        async with make_client(rate_limit_write="1/minute") as client:
            tried = [await client.post(SIGN_IN, data={"token": token}) for _ in range(2)]
        assert [answer.status_code for answer in tried] == [303, 429]


class TestEnd:
    """A session ends after a time without requests, at its last moment, and with its token."""

    @pytest.mark.parametrize(
        ("columns", "ended"),
        [
            ({"last_seen_at": timedelta(minutes=55)}, False),
            ({"last_seen_at": timedelta(minutes=65)}, True),
            ({"expires_at": timedelta(hours=11)}, False),
            ({"expires_at": timedelta(hours=13)}, True),
        ],
    )
    async def test_in_time(
        self,
        client: httpx.AsyncClient,
        make_token: MakeToken,
        resources: Resources,
        columns: dict[str, timedelta],
        *,
        ended: bool,
    ) -> None:
        await client.post(SIGN_IN, data={"token": await make_token()})
        await age(resources, **columns)
        assert ("is no longer valid" in (await client.get("/")).text) is ended
        await purge_sessions({"resources": resources})
        assert await open_sessions(resources) == (0 if ended else 1)

    @pytest.mark.parametrize(("path", "goes_on"), [("/", True), ("/page/live", False)])
    async def test_a_request_keeps_it_alive_and_an_open_page_does_not(
        self,
        client: httpx.AsyncClient,
        make_token: MakeToken,
        resources: Resources,
        path: str,
        *,
        goes_on: bool,
    ) -> None:
        await client.post(SIGN_IN, data={"token": await make_token(name="Ada")})
        for _ in range(2):
            await age(resources, last_seen_at=timedelta(minutes=40))
            await client.get("/page/live")  # now the session is in memory
            await client.get(path)
        assert ("Signed in as Ada" in (await client.get("/")).text) is goes_on

    async def test_what_an_open_page_asks_hides_no_request(
        self, client: httpx.AsyncClient, make_token: MakeToken, resources: Resources
    ) -> None:
        """A session that is in memory is looked up for a poll, and then used by a person."""
        await client.post(SIGN_IN, data={"token": await make_token()})
        await client.get("/")
        known = dict(known_tokens(resources)._known)
        await age(resources, last_seen_at=timedelta(minutes=40))
        known_tokens(resources)._known.update(known)
        for one in known.values():
            one.fresh_until = one.note_at = 0  # as after a minute
        for path in ("/page/live", "/"):
            await client.get(path)
        async with transaction(resources.sessions) as session:
            seen = await session.scalar(select(BrowserSession.last_seen_at))
            assert seen is not None
            assert datetime.now(UTC) - seen < timedelta(minutes=20)

    async def test_one_that_is_known_costs_no_query(
        self, client: httpx.AsyncClient, make_session: MakeToken
    ) -> None:
        client.cookies[COOKIE] = await make_session("ships:sail")
        said = []
        for _ in range(2):
            with counted_statements() as statements:
                await client.get("/")
            said.append(sum("browser_sessions" in one for one in statements))
        assert said == [1, 0]

    async def test_who_made_its_token_is_revoked(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        parent = await make_token(TOKENS_WRITE)
        child = await child_of(client, parent)
        await client.post("/page/sign-in", data={"token": child.text})
        assert "Signed in as child" in (await client.get("/")).text
        headers = {"Authorization": f"Bearer {parent}"}
        await client.delete(f"{TOKENS}/{id_of(parent)}", headers=headers)
        assert "Signed in as child" not in (await client.get("/")).text


class TestSignOut:
    """The session ends at the server, and the browser forgets a cookie that is no longer valid."""

    async def test_a_copy_of_the_cookie_opens_nothing(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        await client.post(SIGN_IN, data={"token": await make_token(name="Ada")})
        copy = client.cookies[COOKIE]
        assert "Signed in as Ada" in (await client.get("/")).text
        with captured_logs() as events:
            await client.post(SIGN_OUT)
        assert [event["action"] for event in named(events, "security_event")] == ["signed_out"]
        client.cookies[COOKIE] = copy
        assert "Signed in" not in (await client.get("/")).text

    async def test_guessing_is_limited_by_address(self, make_client: MakeClient) -> None:
        answers = []
        async with make_client(rate_limit_login="1/minute") as client:
            for guess in ("0" * 64, "1" * 64):
                client.cookies[COOKIE] = guess
                answers.append((await client.post(SIGN_OUT)).status_code)
        assert answers == [303, 429]

    async def test_another_session_of_the_token_goes_on(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        token = await make_token(name="Ada")
        await client.post(SIGN_IN, data={"token": token})
        other = client.cookies[COOKIE]
        client.cookies.clear()
        await client.post(SIGN_IN, data={"token": token})
        await client.post(SIGN_OUT)
        client.cookies[COOKIE] = other
        assert "Signed in as Ada" in (await client.get("/")).text

    async def test_on_demand(self, client: httpx.AsyncClient, make_token: MakeToken) -> None:
        await client.post(SIGN_IN, data={"token": await make_token()})
        assert COOKIE in client.cookies
        answer = await client.post(SIGN_OUT)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert cookie_of(answer)["max-age"] == "0"
        assert COOKIE not in client.cookies

    async def test_a_revoked_token(
        self, client: httpx.AsyncClient, make_token: MakeToken, resources: Resources
    ) -> None:
        token = await make_token(name="Ada")
        await client.post(SIGN_IN, data={"token": token})
        assert "Signed in as Ada" in (await client.get("/")).text
        await revoke(resources, token)
        answer = await client.get("/")
        assert "Signed in" not in answer.text
        assert "is no longer valid" in Page(answer.text).text
        assert cookie_of(answer)["max-age"] == "0"
        assert "is no longer valid" not in (await client.get("/")).text


class TestCookie:
    """The cookie opens pages and nothing else: no other site can use it against the API."""

    async def test_the_api_does_not_take_it(
        self, client: httpx.AsyncClient, make_session: MakeToken
    ) -> None:
        client.cookies[COOKIE] = secret = await make_session()
        assert (await client.get("/api/v1/tokens")).status_code == 401
        client.headers["Authorization"] = f"Bearer {secret}"
        assert (await client.get("/api/v1/tokens")).status_code == 401

    async def test_a_token_is_no_session(
        self, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        client.cookies[COOKIE] = await make_token()
        assert "is no longer valid" in (await client.get("/")).text


class TestPanel:
    """Who may manage tokens sees the newest ones, never a secret."""

    async def test_the_newest_tokens(
        self, client: httpx.AsyncClient, make_token: MakeToken, resources: Resources
    ) -> None:
        hostile = "<img src=x onerror=alert(1)>"
        revoked = await make_token(name=hostile)
        await revoke(resources, revoked)
        token = await make_token(TOKENS_WRITE, name="Ada")
        await client.post(SIGN_IN, data={"token": token})
        answer = await client.get("/")
        page = Page(answer.text)
        assert f"{hostile} revoked" in page.text
        assert {element.tag for element in page.active()} == {"script", "img"}
        assert [image.attributes["src"][:8] for image in page.all("img")] == ["/static/"]
        assert not any(part in answer.text for part in token.split("_")[1:])

    async def test_who_may_not_manage_them_sees_none(
        self, client: httpx.AsyncClient, make_session: MakeToken
    ) -> None:
        client.cookies[COOKIE] = await make_session("ships:sail", name="Ada")
        page = Page((await client.get("/")).text)
        assert "Signed in as Ada" in page.text
        assert "Newest tokens" not in page.text
