"""The roles of Postgres (deploy/postgres/roles.sql) and the users of Redis in the stack."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.images import ONE, TWO, Images
from tests.stack.source import run
from tests.stack.stack import Stack, production

# In the app's container: log in as it does, and print how Postgres answers the statement.
TRY = """
import sys, psycopg
from app.registry import load_settings
from psycopg.conninfo import make_conninfo
url = make_conninfo(load_settings().database_dsn, **({"user": sys.argv[2]} if sys.argv[2:] else {}))
try:
    with psycopg.connect(url) as connection:
        connection.execute(sys.argv[1])
        print("done")
except psycopg.Error as error:
    print(type(error).__name__, error)
"""
OLD_URL = "postgresql://drydock@db:5432/drydock"
OWNERS = """
SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname = 'public'
"""


def attempt(stack: Stack, statement: str, *user: str) -> str:
    return stack.run_in("app", "python", "-c", TRY, statement, *user)


def as_superuser(stack: Stack, statement: str) -> str:
    """Through the socket, which is in db's container only."""
    return stack.run_in("db", "psql", "-At", "-U", "drydock", "-c", statement)


class TestService:
    """Whoever takes over the app can't go on to the database's server."""

    @pytest.mark.parametrize(
        "statement",
        [
            "COPY (SELECT 1) TO PROGRAM 'touch /tmp/taken'",
            "CREATE TABLE made (id int)",
            "ALTER ROLE drydock_app SUPERUSER",
            "DROP TABLE tokens",
        ],
    )
    def test_it_may_not(self, stack: Stack, statement: str) -> None:
        assert attempt(stack, statement).startswith("InsufficientPrivilege")

    @pytest.mark.parametrize("user", ["drydock", "drydock_owner"])
    def test_it_can_not_log_in_as(self, stack: Stack, user: str) -> None:
        assert "password authentication failed" in attempt(stack, "SELECT 1", user)

    def test_a_password_that_can_not_be_read_changes_nothing(self, stack: Stack) -> None:
        """It would become an empty one, and nobody could log in."""
        secret = stack.source / "secrets/database_password"
        kept = secret.rename(secret.with_suffix(".kept"))
        secret.mkdir()
        try:
            with pytest.raises(AssertionError, match="Is a directory"):
                stack.script("roles")
        finally:
            secret.rmdir()
            kept.rename(secret)
        assert attempt(stack, "SELECT 1") == "done"


class TestRedis:
    """The service's user of Redis is not its administrator, who has a password of each start."""

    def test_it_may_not(self, stack: Stack) -> None:
        password = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" '
        for user in ("default", "admin"):
            command = f"{password} redis-cli --user {user} config get maxmemory 2>&1"
            said = stack.run_in("redis", "sh", "-c", command)
            assert re.search("NOPERM|WRONGPASS|NOAUTH", said)


class TestOlderVolume:
    """A volume whose service was the superuser is moved by the next start, and keeps its rows."""

    @pytest.fixture
    def old(self, source: Path, images: Images, tmp_path: Path) -> Iterator[Stack]:
        """A volume as it was before the roles."""
        with production(source, tmp_path / "stack", images.repository, ONE) as stack:
            secrets = stack.source / "secrets"
            owner, service = secrets / "database_owner_password", secrets / "database_password"
            kept = owner.read_text()
            owner.write_text(service.read_text())  # a new volume gives this to the superuser
            stack.docker.compose.up(["db"], detach=True, wait=True, quiet=True, pull="missing")
            owner.write_text(kept)
            stack.docker.compose.run(
                "app",
                ["python", "-m", "app", "migrate"],
                dependencies=False,
                remove=True,
                tty=False,
                envs={"DATABASE_URL": OLD_URL},
            )
            yield stack

    def test_it_is_moved(self, old: Stack) -> None:
        insert = "INSERT INTO tokens (name, scopes, hash) VALUES ('kept', '{a}', sha256('a'))"
        as_superuser(old, insert)
        assert as_superuser(old, OWNERS) == "drydock"
        old.up()
        assert as_superuser(old, OWNERS) == "drydock_owner"
        assert "drydock_owner owns table" in str(old.docker.compose.logs(["roles"]))
        assert as_superuser(old, "SELECT name FROM tokens") == "kept"
        assert attempt(old, "UPDATE tokens SET name = 'changed'") == "done"
        assert "password authentication failed" in attempt(old, "SELECT 1", "drydock")

    @pytest.mark.long
    @pytest.mark.timeout(300)
    def test_a_deploy_moves_it_while_the_old_version_serves(
        self, old: Stack, images: Images, tmp_path: Path
    ) -> None:
        file = tmp_path / "old.yaml"
        of_service = {"environment": {"DATABASE_URL": OLD_URL}}
        file.write_text(json.dumps({"services": {"app": of_service, "worker": of_service}}))
        up = ["up", "--detach", "--wait", "--no-deps", "redis", "app", "worker", "proxy"]
        command = ["docker", "compose", "--file", "compose.yaml", "--file", str(file), *up]
        run(command, cwd=old.source, env=old.environment)
        said = old.script("release", TWO, check=False)
        # The old version could still log in until it had stopped.
        assert said.index("keeps its password for now") < said.index("log in as drydock over")
        assert old.versions() == {images.version(TWO)}
        assert as_superuser(old, OWNERS) == "drydock_owner"
        assert "password authentication failed" in attempt(old, "SELECT 1", "drydock")
