"""`python -m app migrate`, on an empty database of its own."""

from collections.abc import Iterator

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from app.config import Settings
from app.infra.schema import list_revisions
from dev.postgres import NAME, OWNER, as_role
from tests.live import ROOT, own_database
from tests.service import Program, Service

# Records each table that is created, and slows down the first, so that two runs overlap.
COUNT_CREATED = """
    CREATE TABLE created (name text);
    CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            INSERT INTO created SELECT object_identity
                FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE';
            IF (SELECT count(*) FROM created) = 1 THEN PERFORM pg_sleep(2); END IF;
        END $$;
    CREATE EVENT TRIGGER note ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
        EXECUTE FUNCTION note();
"""


class Database:
    """An empty database, migrated by the command or, faster, by Alembic in this process."""

    def __init__(self, service: Service, url: str) -> None:
        self.url = as_role(url, OWNER)
        self.superuser = as_role(url, NAME)
        self.service = service
        self.config = Config(toml_file=ROOT / "pyproject.toml")
        self.config.attributes["settings"] = Settings(
            database_url=self.url, redis_url=service.redis.url
        )

    def query(self, text: str) -> list[tuple[str, ...]]:
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def revisions(self) -> list[tuple[str, ...]]:
        return self.query("SELECT version_num FROM alembic_version")

    def migration(self, name: str) -> Program:
        return self.service.command("migrate", name=name, DATABASE_URL=self.url)


@pytest.fixture
def database(service: Service) -> Iterator[Database]:
    with own_database(service.postgres) as url:
        yield Database(service, url)


class TestMigrate:
    """Migrations run once, whoever starts them, and create what the models declare."""

    def test_two_at_once_on_an_empty_database(self, database: Database) -> None:
        database.query(COUNT_CREATED)
        both = [database.migration("migrate-a"), database.migration("migrate-b")]
        for run in both:
            run.start()
        assert [run.wait() for run in both] == [0, 0]
        created = [name for (name,) in database.query("SELECT name FROM created")]
        assert "public.tokens" in created
        assert len(created) == len(set(created))
        assert database.revisions() == [(list_revisions()[-1],)]

    def test_they_make_what_the_models_declare_and_can_be_undone(self, database: Database) -> None:
        command.upgrade(database.config, "head")
        command.downgrade(database.config, "base")
        command.upgrade(database.config, "head")  # fails if the way down left something
        command.check(database.config)

    def test_behind_a_lock_it_gives_up_and_changes_nothing(self, database: Database) -> None:
        command.upgrade(database.config, "head")
        command.downgrade(database.config, "base")
        migration = database.migration("migrate-blocked")
        with psycopg.connect(database.url) as holder:
            # Reading is allowed, so the migration runs until it records its revision.
            holder.execute("LOCK TABLE alembic_version IN SHARE MODE")
            migration.start()
            assert migration.wait(seconds=15) == 1
        assert "lock timeout" in migration.output()
        assert database.revisions() == []
        assert database.query("SELECT 1 FROM pg_class WHERE relname = 'tokens'") == []
