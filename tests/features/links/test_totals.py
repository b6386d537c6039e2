"""The total of a link's clicks is kept, not summed: exact, whatever was purged or migrated."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import func, select

from app.config import Settings
from app.features.links.models import ClickCount
from app.features.links.settings import LinksSettings
from app.features.links.tasks import purge
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import LINKS, MakeLink, RollUp
from tests.features.links.counting import append
from tests.live import ROOT, as_owner
from tests.statements import counted_statements

# What the version before totals runs to count a click.
COUNT = """
    INSERT INTO click_counts (link_id, hour, clicks)
    SELECT id, date_trunc('hour', now(), 'UTC'), 1 FROM links ORDER BY id FOR KEY SHARE OF links
    ON CONFLICT (link_id, hour) DO UPDATE SET clicks = click_counts.clicks + excluded.clicks
"""
WRONG = """
    SELECT id FROM links LEFT JOIN click_totals AS kept ON kept.link_id = id
    WHERE coalesce(kept.clicks, 0)
        <> (SELECT coalesce(sum(clicks), 0) FROM click_counts WHERE link_id = id)
"""
HISTORY = """
    INSERT INTO links (slug, url) SELECT 'old-' || n, 'https://example.com/'
        FROM generate_series(1, 350) AS n;
    INSERT INTO click_counts SELECT id, '2026-01-01T00:00Z'::timestamptz + h * interval '1 hour', h
        FROM links, generate_series(1, 40) AS h;
    INSERT INTO links (slug, url) VALUES ('unused', 'https://example.com/');
"""


def hours_ago(hours: int) -> str:
    """The id of a stream entry."""
    at = datetime.now(UTC) - timedelta(hours=hours)
    return f"{int(at.timestamp() * 1000)}-0"


async def totals(api: httpx.AsyncClient) -> dict[str, int]:
    """As the list and each link say, which must be the same."""
    listed = {link["slug"]: link["clicks"] for link in (await api.get(LINKS)).json()["items"]}
    for slug, clicks in listed.items():
        assert (await api.get(f"{LINKS}/{slug}")).json()["clicks"] == clicks
    return listed


class TestTotal:
    """It has every click, and reading it costs the same after any number of hours."""

    async def test_it_grows_with_each_hour(
        self,
        api: httpx.AsyncClient,
        make_link: MakeLink,
        deck: UUID,
        resources: Resources,
        roll_up: RollUp,
    ) -> None:
        await make_link(slug="other")
        for hours in (3, 2, 1):
            await append(resources, deck, hours, at=hours_ago(hours))
            await roll_up()
        await append(resources, deck, 1)
        await append(resources, deck, 1)
        await roll_up()
        assert await totals(api) == {"deck": 8, "other": 0}

    async def test_no_hour_is_read(
        self, api: httpx.AsyncClient, make_link: MakeLink, deck: UUID
    ) -> None:
        with counted_statements() as statements:
            await api.get(LINKS)
            await api.get(f"{LINKS}/deck")
            await api.patch(f"{LINKS}/deck", json={"title": "Deck"})
        assert [text for text in statements if "click_totals" in text]
        assert not [text for text in statements if "click_counts" in text]

    async def test_purged_hours_stay_in_it(
        self, api: httpx.AsyncClient, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        days = resources.settings.of(LinksSettings).click_history_days
        for age in (days * 24 + 2, days * 24 - 2, 1):
            await append(resources, deck, 5, at=hours_ago(age))
        await roll_up()
        await purge({"resources": resources})
        async with transaction(resources.sessions) as session:
            assert await session.scalar(select(func.sum(ClickCount.clicks))) == 10
        assert await totals(api) == {"deck": 15}
        await append(resources, deck, 1)
        await roll_up()
        assert await totals(api) == {"deck": 16}


@contextmanager
def counting(settings: Settings) -> Iterator[None]:
    """The version before counts clicks of all links, until the block ends."""
    over = threading.Event()

    def count() -> None:
        with psycopg.connect(settings.database_dsn, autocommit=True) as connection:
            while not over.is_set():
                connection.execute(COUNT)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ask(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.database_dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def before(own_settings: Settings) -> tuple[Settings, Config]:
    """A database of the version before totals, with a history."""
    owner = as_owner(own_settings)
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["settings"] = owner
    command.downgrade(config, "0007")
    ask(owner, HISTORY)
    return owner, config


class TestMigration:
    """No click is missed or added twice while the migration runs, nor by a rollback afterwards."""

    def test_while_clicks_are_counted(self, before: tuple[Settings, Config]) -> None:
        owner, config = before
        with counting(owner):
            command.upgrade(config, "0009")
            for _ in range(5):  # it was interrupted, and runs again
                command.downgrade(config, "0008")
                command.upgrade(config, "0009")
        [(fewest,)] = ask(
            owner,
            "SELECT min(clicks) FROM click_totals JOIN links ON id = link_id"
            " WHERE slug <> 'unused'",
        )
        assert fewest > sum(range(1, 41))  # some were counted meanwhile
        assert ask(owner, WRONG) == []
