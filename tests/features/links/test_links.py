"""/api/v1/links: creating, reading, listing, changing and deleting."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.features.links.conftest import LINKS, MakeLink, RollUp
from tests.logs import captured_logs, named
from tests.problems import check_problem

LATER = "2099-12-31T22:00:00Z"


async def read(api: httpx.AsyncClient, slug: str) -> dict[str, Any]:
    answer = await api.get(f"{LINKS}/{slug}")
    assert answer.status_code == 200, answer.text
    link: dict[str, Any] = answer.json()
    return link


class TestCreate:
    """A link gets the slug that was asked for, or a random one."""

    async def test_the_answer_says_all_of_it(self, api: httpx.AsyncClient) -> None:
        body = {"url": "https://example.com/a", "slug": "deck", "title": " The deck "}
        answer = await api.post(LINKS, json={**body, "expires_at": "2099-12-31T23:00:00+01:00"})
        link = answer.json()
        assert answer.status_code == 201
        assert (await api.get(answer.headers["location"])).json() == link
        created = datetime.fromisoformat(link.pop("created_at"))
        assert abs(datetime.now(UTC) - created) < timedelta(minutes=2)
        assert link == {
            "slug": "deck",
            "url": "https://example.com/a",
            "title": "The deck",
            "short_url": "http://testserver/deck",
            "expires_at": LATER,
            "clicks": 0,
        }

    async def test_a_slug_that_is_made_up_is_short_and_clear(self, make_link: MakeLink) -> None:
        slugs = {(await make_link())["slug"] for _ in range(20)}
        assert len(slugs) == 20
        assert all(len(slug) == 7 and slug.isalnum() for slug in slugs)
        assert not set("0O1lI") & set("".join(slugs))

    async def test_a_taken_slug_is_409_and_stays_as_it_was(
        self, api: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        await make_link(slug="deck", url="https://example.com/first")
        answer = await api.post(LINKS, json={"url": "https://example.com/second", "slug": "deck"})
        problem = check_problem(answer, 409, "slug_taken")
        assert "'deck'" in problem["detail"]
        assert (await read(api, "deck"))["url"] == "https://example.com/first"

    @pytest.mark.parametrize(("free", "status"), [(True, 201), (False, 409)])
    async def test_another_slug_is_made_up_for_a_while_if_one_is_taken(
        self,
        api: httpx.AsyncClient,
        make_link: MakeLink,
        monkeypatch: pytest.MonkeyPatch,
        *,
        free: bool,
        status: int,
    ) -> None:
        await make_link(slug="taken")
        slugs = iter(["taken", "taken", "free"] if free else ["taken"] * 99)
        monkeypatch.setattr("app.features.links.service.make_slug", lambda: next(slugs))
        answer = await api.post(LINKS, json={"url": "https://example.com/"})
        assert answer.status_code == status


class TestList:
    """The list shows the newest links first, with their clicks."""

    async def test_each_has_its_clicks(
        self, api: httpx.AsyncClient, make_link: MakeLink, roll_up: RollUp
    ) -> None:
        clicks = {"one": 1, "two": 2, "none": 0}
        made = [await make_link(slug=slug) for slug in clicks]
        for slug, number in clicks.items():
            for _ in range(number):
                await api.get(f"/{slug}")
        await roll_up()
        items = (await api.get(LINKS)).json()["items"]
        assert items == [{**link, "clicks": clicks[link["slug"]]} for link in reversed(made)]


class TestChange:
    """PATCH changes the given fields only. null removes a title or an expiry."""

    @pytest.fixture
    async def before(self, make_link: MakeLink) -> dict[str, Any]:
        return await make_link(slug="deck", title="The deck", expires_at=LATER)

    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"url": "https://example.com/other"},
            {"title": "Another"},
            {"title": None},
            {"expires_at": "2098-01-01T00:00:00Z"},
            {"expires_at": None},
            {"url": "https://example.com/other", "title": None, "expires_at": None},
        ],
    )
    async def test_nothing_else_changes(
        self, api: httpx.AsyncClient, before: dict[str, Any], change: dict[str, Any]
    ) -> None:
        answer = await api.patch(f"{LINKS}/deck", json=change)
        assert answer.status_code == 200
        assert answer.json() == {**before, **change}
        assert await read(api, "deck") == {**before, **change}

    @pytest.mark.parametrize(
        ("field", "value"),
        [("url", None), ("url", ""), ("slug", "other"), ("expires_at", "2001-01-01T00:00:00Z")],
    )
    async def test_a_field_that_is_wrong_changes_nothing(
        self, api: httpx.AsyncClient, before: dict[str, Any], field: str, value: object
    ) -> None:
        answer = await api.patch(f"{LINKS}/deck", json={"title": "Another", field: value})
        problem = check_problem(answer, 422, "validation_failed")
        assert [fault["field"] for fault in problem["errors"]] == [f"body.{field}"]
        assert await read(api, "deck") == before


class TestDelete:
    """A deleted link is gone with its clicks, and its slug is free."""

    async def test_it_is_gone_and_its_slug_is_free(
        self, api: httpx.AsyncClient, make_link: MakeLink, roll_up: RollUp
    ) -> None:
        await make_link(slug="deck")
        await api.get("/deck")
        await roll_up()
        answer = await api.delete(f"{LINKS}/deck")
        assert (answer.status_code, answer.content) == (204, b"")
        check_problem(await api.get(f"{LINKS}/deck"), 404, "link_not_found")
        assert (await make_link(slug="deck"))["clicks"] == 0
        assert (await read(api, "deck"))["clicks"] == 0


class TestAbsent:
    """An unknown slug is 404, and an invalid one is 422, at each operation."""

    @pytest.mark.parametrize(
        ("method", "suffix"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/clicks")]
    )
    async def test_each_operation_says_so(
        self, api: httpx.AsyncClient, method: str, suffix: str
    ) -> None:
        body: dict[str, str] | None = {} if method == "PATCH" else None
        answer = await api.request(method, f"{LINKS}/nowhere{suffix}", json=body)
        check_problem(answer, 404, "link_not_found")
        answer = await api.request(method, f"{LINKS}/no%20where{suffix}", json=body)
        problem = check_problem(answer, 422, "validation_failed")
        assert problem["errors"][0]["field"] == "path.slug"


class TestSecurityEvents:
    """The log says which token made a link lead elsewhere, or deleted it."""

    async def test_it(self, api: httpx.AsyncClient, make_link: MakeLink) -> None:
        await make_link(slug="deck", url="https://example.com/a")
        with captured_logs() as events:
            for change in ({"title": "new"}, {"url": "https://example.com/a"}):
                await api.patch(f"{LINKS}/deck", json=change)
            await api.patch(f"{LINKS}/deck", json={"url": "https://evil.example/"})
            await api.delete(f"{LINKS}/deck")
        actor = str(UUID(hex=api.headers["authorization"].split("_")[1]))
        found = [
            (event["action"], event["actor"], event["subject"])
            for event in named(events, "security_event")
        ]
        assert found == [("link_retargeted", actor, "deck"), ("link_deleted", actor, "deck")]
