"""GET /api/v1/links/{slug}/clicks: a series without gaps, by hour or by day, in UTC."""

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from app.features.links.service import MOST_BUCKETS
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import LINKS, MakeLink, RollUp
from tests.problems import check_problem

CLICKS = f"{LINKS}/deck/clicks"


@pytest.fixture(autouse=True)
async def links(deck: UUID, make_link: MakeLink) -> None:
    await make_link(slug="other")


async def add(resources: Resources, clicks: dict[str, int], *, slug: str = "deck") -> None:
    """{hour: clicks}, as the roll-up would have stored them."""
    insert = text(
        "INSERT INTO click_counts (link_id, hour, clicks)"
        " SELECT id, CAST(:hour AS timestamptz), :clicks FROM links WHERE slug = :slug"
    )
    async with transaction(resources.sessions) as session:
        for hour, number in clicks.items():
            at = datetime.fromisoformat(hour)
            await session.execute(insert, {"hour": at, "clicks": number, "slug": slug})


async def series(api: httpx.AsyncClient, **params: str) -> dict[str, int]:
    """{start: clicks}; the total has to be their sum."""
    answer = await api.get(CLICKS, params=params)
    assert answer.status_code == 200, answer.text
    found = {part["start"]: part["clicks"] for part in answer.json()["series"]}
    assert answer.json()["total"] == sum(found.values())
    return found


class TestSeries:
    """Every hour or day of the range is there, in UTC, those without clicks as zeros."""

    async def test_by_the_hour(self, api: httpx.AsyncClient, resources: Resources) -> None:
        await add(resources, {"2026-03-01T10:00Z": 3, "2026-03-01T12:00Z": 4})
        await add(resources, {"2026-03-01T10:00Z": 9}, slug="other")
        # Another time zone, and not at whole hours.
        since, until = "2026-03-01T15:20:00+05:30", "2026-03-01T15:59:59+02:00"
        assert await series(api, bucket="hour", since=since, until=until) == {
            "2026-03-01T09:00:00Z": 0,
            "2026-03-01T10:00:00Z": 3,
            "2026-03-01T11:00:00Z": 0,
            "2026-03-01T12:00:00Z": 4,
        }

    async def test_by_the_day(self, api: httpx.AsyncClient, resources: Resources) -> None:
        await add(
            resources,
            {"2026-03-01T00:00Z": 1, "2026-03-01T23:00Z": 2, "2026-03-02T00:00Z": 4}
            | {"2026-02-28T23:00Z": 8, "2026-03-04T00:00Z": 16},
        )
        since, until = "2026-03-01T00:00:00Z", "2026-03-04T00:00:00Z"
        assert await series(api, bucket="day", since=since, until=until) == {
            "2026-03-01T00:00:00Z": 3,
            "2026-03-02T00:00:00Z": 4,
            "2026-03-03T00:00:00Z": 0,
        }

    @pytest.mark.parametrize(("bucket", "count"), [("hour", 48), ("day", 30)])
    async def test_the_default_range_ends_now(
        self, api: httpx.AsyncClient, roll_up: RollUp, bucket: str, count: int
    ) -> None:
        await api.get("/deck")
        await roll_up()
        found = await series(api, bucket=bucket)
        step = timedelta(hours=1) if bucket == "hour" else timedelta(days=1)
        starts = [datetime.fromisoformat(start) for start in found]
        assert len(found) == count
        assert {later - earlier for earlier, later in itertools.pairwise(starts)} == {step}
        assert starts[-1] <= datetime.now(UTC) < starts[-1] + 2 * step
        assert sum(found.values()) == 1

    async def test_the_longest_is_still_answered(self, api: httpx.AsyncClient) -> None:
        until = datetime(2026, 3, 1, tzinfo=UTC)
        since = until - timedelta(hours=MOST_BUCKETS)
        found = await series(api, bucket="hour", since=since.isoformat(), until=until.isoformat())
        assert len(found) == MOST_BUCKETS

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"since": "2026-03-02T00:00:00Z", "until": "2026-03-02T00:00:00Z"}, "until"),
            ({"since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, "until"),
            ({"since": "2101-01-01T00:00:00Z"}, "until"),
            ({"since": "2001-01-01T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, "since"),
            ({"bucket": "hour", "since": "2025-01-01T00:00:00Z"}, "since"),
            ({"since": "2026-03-02T00:00:00"}, "since"),
            ({"until": "9999-12-31T23:59:59Z"}, "until"),
            ({"bucket": "minute"}, "bucket"),
        ],
    )
    async def test_a_range_that_is_wrong_is_422(
        self, api: httpx.AsyncClient, params: dict[str, str], field: str
    ) -> None:
        problem = check_problem(await api.get(CLICKS, params=params), 422, "validation_failed")
        assert [fault["field"] for fault in problem["errors"]] == [f"query.{field}"]
