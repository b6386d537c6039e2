"""A migration that builds an index concurrently, beside an old transaction and after a failure."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError

from app.config import Settings
from app.infra.schema import list_revisions
from tests.live import ROOT, as_owner
from tests.polling import until

INDEX = "ix_tokens_name"
# As `make migration` would write it, after its list of checks was followed.
MIGRATION = f"""
from alembic import op

revision = "9999"
down_revision = "{list_revisions()[-1]}"


def upgrade():
    with op.get_context().autocommit_block():
        op.create_index(
            "{INDEX}", "tokens", ["name"], postgresql_concurrently=True, if_not_exists=True
        )


def downgrade():
    with op.get_context().autocommit_block():
        op.drop_index("{INDEX}", postgresql_concurrently=True, if_exists=True)
"""
LIMIT = 'LOCK_TIMEOUT = "3s"'
SHORT = 'LOCK_TIMEOUT = "200ms"'  # the tests need not wait for long


@pytest.fixture
def owner(own_settings: Settings) -> Settings:
    return as_owner(own_settings)


@pytest.fixture
def config(owner: Settings, tmp_path: Path) -> Config:
    """The service's migrations, and that one."""
    folder = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", folder)
    env = (folder / "env.py").read_text()
    assert LIMIT in env
    (folder / "env.py").write_text(env.replace(LIMIT, SHORT))
    (folder / "versions" / "20991231_9999_index.py").write_text(MIGRATION)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["settings"] = owner
    return config


@contextmanager
def old_transaction(settings: Settings) -> Iterator[None]:
    """A transaction with a snapshot, such as a backup has."""
    with psycopg.connect(settings.database_dsn) as backup:
        backup.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT FROM tokens")
        yield


def ask(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.database_dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def index(settings: Settings) -> list[tuple[Any, ...]]:
    """Whether the index is valid, and its number; nothing without an index."""
    return ask(
        settings,
        f"SELECT indisvalid, indexrelid FROM pg_index WHERE indexrelid = to_regclass('{INDEX}')",
    )


def leave_invalid(settings: Settings) -> None:
    """What an interrupted build leaves."""
    with (
        old_transaction(settings),
        psycopg.connect(settings.database_dsn, autocommit=True) as connection,
    ):
        connection.execute("SET lock_timeout = '100ms'")
        with pytest.raises(LockNotAvailable):
            connection.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON tokens (name)".encode())
    assert [valid for valid, _ in index(settings)] == [False]


class TestOldTransaction:
    """The build waits for it as long as it lasts. Other waiting stays limited."""

    @pytest.mark.parametrize("build", [command.upgrade, command.downgrade])
    def test_a_backup_is_waited_for(self, owner: Settings, config: Config, build: Any) -> None:
        target, expected = ("head", [True]) if build is command.upgrade else ("-1", [])
        if build is command.downgrade:
            command.upgrade(config, "head")
        waiting = """SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'
            AND query LIKE '%CONCURRENTLY%' AND query_start < clock_timestamp() - interval '1 s'"""
        with ThreadPoolExecutor() as pool:
            with old_transaction(owner):
                running = pool.submit(build, config, target)
                until(lambda: running.done() or ask(owner, waiting))
            running.result(timeout=30)
        assert [valid for valid, _ in index(owner)] == expected

    def test_the_next_statement_is_limited_again(self, owner: Settings, config: Config) -> None:
        with psycopg.connect(owner.database_dsn) as reader:
            # The index can be built beside this lock. To record the revision needs another one.
            reader.execute("LOCK TABLE alembic_version IN SHARE MODE")
            with pytest.raises(OperationalError, match="lock timeout"):
                command.upgrade(config, "head")
        assert [valid for valid, _ in index(owner)] == [True]
        command.upgrade(config, "head")


class TestInterrupted:
    """The same migration can be run again."""

    def test_an_invalid_index_is_built_anew(self, owner: Settings, config: Config) -> None:
        leave_invalid(owner)
        command.upgrade(config, "head")
        assert [valid for valid, _ in index(owner)] == [True]

    def test_one_that_was_finished_but_not_recorded_is_kept(
        self, owner: Settings, config: Config
    ) -> None:
        with psycopg.connect(owner.database_dsn) as connection:
            connection.execute(f"CREATE INDEX {INDEX} ON tokens (name)".encode())
        built = index(owner)
        command.upgrade(config, "head")
        assert index(owner) == built
