"""deploy/postgres/roles.sql: what the service may do, and how an older database changes."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from app.config import Settings
from app.infra.db import Base
from dev.postgres import NAME, OWNER, SERVICE, as_role
from dev.servers import PostgresServer, scratch_folder, start_postgres
from tests.live import own_database, query

REFUSED = (
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "COPY tokens FROM PROGRAM 'echo'",
    "COPY tokens TO '/tmp/tokens'",
    "SELECT pg_read_file('postgresql.conf')",
    "CREATE TABLE made (id int)",
    "CREATE TEMPORARY TABLE made (id int)",
    "CREATE FUNCTION made() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE SCHEMA made",
    "CREATE EXTENSION hstore",
    "CREATE DATABASE made",
    "CREATE ROLE made",
    "ALTER TABLE tokens ADD made int",
    "ALTER TABLE tokens DISABLE TRIGGER ALL",
    f"ALTER ROLE {SERVICE} CREATEROLE",
    f"ALTER ROLE {OWNER} PASSWORD 'known'",
    f"ALTER ROLE {NAME} PASSWORD 'known'",
    f"GRANT {OWNER} TO {SERVICE}",
    f"SET ROLE {OWNER}",
    f"DROP DATABASE {NAME}",
    "DROP TABLE tokens",
    "TRUNCATE tokens",
    "ALTER SYSTEM SET fsync = off",
)
# One of each kind that a migration may make, as an older version made them: as the superuser.
OLD = """
    CREATE TYPE colour AS ENUM ('red');
    CREATE TYPE pair AS (a int, b int);
    CREATE DOMAIN word AS text;
    CREATE TYPE span AS RANGE (subtype = int4);
    CREATE TABLE serials (id serial PRIMARY KEY, colour colour, word word);
    CREATE TABLE identities (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
    CREATE TABLE parts (id int) PARTITION BY RANGE (id);
    CREATE TABLE "a Part" PARTITION OF parts DEFAULT;
    CREATE SEQUENCE numbers;
    CREATE VIEW seen AS SELECT id FROM serials;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM serials;
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql RETURN 2 * $1;
    CREATE PROCEDURE nothing() LANGUAGE sql AS '';
    CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int);
    CREATE SCHEMA other;
    CREATE TABLE other.notes (id serial PRIMARY KEY, text text);
    CREATE EXTENSION hstore;
    INSERT INTO serials (colour, word) VALUES ('red', 'kept');
"""
OF_SUPERUSER = """
    SELECT relname FROM pg_class JOIN pg_roles r ON r.oid = relowner
      WHERE rolname = current_user AND relnamespace::regnamespace::text IN ('public', 'other')
    UNION ALL
    SELECT proname FROM pg_proc JOIN pg_roles r ON r.oid = proowner
      WHERE rolname = current_user AND pronamespace = 'public'::regnamespace AND NOT EXISTS (
        SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    UNION ALL
    SELECT typname FROM pg_type JOIN pg_roles r ON r.oid = typowner
      WHERE rolname = current_user AND typnamespace = 'public'::regnamespace AND NOT EXISTS (
        SELECT FROM pg_depend WHERE objid = pg_type.oid AND deptype = 'e')
      AND typname NOT LIKE '%hstore'
"""


class TestService:
    """The role of the service reads and writes the rows of each table, and does nothing else."""

    def test_it_may_use_every_table(self, migrated: Settings) -> None:
        with psycopg.connect(migrated.database_dsn) as service:
            for table in Base.metadata.tables.values():
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                    ask = "SELECT has_table_privilege(%s, %s)"
                    assert service.execute(ask, [table.fullname, right]).fetchone() == (True,)
            for (sequence,) in query(migrated, "SELECT oid FROM pg_class WHERE relkind = 'S'"):
                service.execute("SELECT nextval(%s::oid::regclass)", [sequence])

    @pytest.mark.parametrize("statement", REFUSED)
    def test_it_may_not(self, migrated: Settings, statement: str) -> None:
        with (
            psycopg.connect(migrated.database_dsn, autocommit=True) as service,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            service.execute(statement.encode())


class TestOlderDatabase:
    """What a superuser made belongs to the owner, its rows are kept, and the service works."""

    @pytest.fixture
    def database(self, postgres: PostgresServer) -> Iterator[str]:
        with own_database(postgres) as url:
            yield url

    def test_it_is_moved(self, postgres: PostgresServer, database: str) -> None:
        with psycopg.connect(as_role(database, NAME), autocommit=True) as superuser:
            superuser.execute(OLD.encode())
            said = postgres.make_roles(database.rpartition("/")[2])
            assert "drydock_owner owns table public.serials" in said
            assert superuser.execute(OF_SUPERUSER.encode()).fetchall() == []
            # Nothing is left to do, so it says nothing.
            assert postgres.make_roles(database.rpartition("/")[2]) == ""
        with psycopg.connect(database, autocommit=True) as service:
            assert service.execute("SELECT word FROM serials").fetchall() == [("kept",)]
            service.execute("INSERT INTO serials DEFAULT VALUES")
            service.execute("INSERT INTO identities DEFAULT VALUES")
            service.execute("INSERT INTO parts VALUES (1)")
            service.execute("INSERT INTO other.notes (text) VALUES ('new')")
            service.execute("SELECT nextval('numbers'), twice(1) FROM seen, counted")
        with psycopg.connect(as_role(database, OWNER), autocommit=True) as owner:
            owner.execute("ALTER TYPE colour ADD VALUE 'blue'")
            owner.execute("DROP SCHEMA other CASCADE")
            owner.execute("CREATE TABLE later (id serial)")
        with psycopg.connect(database, autocommit=True) as service:
            service.execute("INSERT INTO later DEFAULT VALUES")


class TestManaged:
    """A provider's administrator is no superuser, and can run the file too."""

    def test_it(self) -> None:
        with scratch_folder() as folder, start_postgres(folder / "postgres") as server:
            admin = as_role(server.url, "admin").rpartition("/")[0] + "/managed"
            with psycopg.connect(as_role(server.url, NAME), autocommit=True) as superuser:
                for statement in (
                    f"ALTER DATABASE {NAME} OWNER TO {NAME}",
                    f"DROP OWNED BY {SERVICE}, {OWNER}",
                    f"DROP ROLE {SERVICE}, {OWNER}",
                ):
                    superuser.execute(statement.encode())
                password = sql.Literal(re.findall(r":([^:@]+)@", server.url)[0])
                make = sql.SQL("CREATE ROLE admin LOGIN CREATEROLE CREATEDB PASSWORD {}")
                superuser.execute(make.format(password))
                superuser.execute("CREATE DATABASE managed OWNER admin")
            with psycopg.connect(admin, autocommit=True) as before:
                before.execute("CREATE TABLE kept (id serial)")
            server.make_roles("managed", user="admin")
            assert server.make_roles("managed", user="admin") == ""
            service = as_role(admin, SERVICE)
            with psycopg.connect(service, autocommit=True) as connection:
                connection.execute("INSERT INTO kept DEFAULT VALUES")
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute("DROP TABLE kept")
