"""A restore is all or nothing, whatever the file holds and whoever dies meanwhile."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.polling import until
from tests.stack.data import databases, make_token, redis, sql, stored
from tests.stack.images import NEWER, ONE
from tests.stack.stack import PATIENCE, Stack

pytestmark = pytest.mark.timeout(300)

# A backup with this takes a minute to load into a database of another name.
SLOW = """
CREATE MATERIALIZED VIEW slow AS
SELECT pg_sleep(CASE current_database() WHEN 'drydock'
    THEN 0 ELSE 60 END) IS NULL AS slept
"""
LOADS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
ALONE = ["drydock", "postgres"]  # the databases of a stack without a restore under way


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "restore.log"


class TestDamagedBackup:
    """A damaged file changes nothing, and stops nothing."""

    @pytest.mark.parametrize(
        "damage",
        [lambda content: content[:-100], lambda content: b"garbage" + content],
        ids=["cut off", "garbage"],
    )
    def test_nothing_changes(
        self, stack: Stack, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        token = stack.make_token("tokens:write")
        file, before = tmp_path / "of.dump", stack.starts()
        stack.script("backup", str(file))
        file.write_bytes(damage(file.read_bytes()))
        with pytest.raises(AssertionError, match="The database stays as it was"):
            stack.script("restore", str(file), TAG="")
        assert stack.starts() == before
        assert databases(stack) == ALONE
        with stack.client(Authorization=f"Bearer {token}") as api:
            assert api.get("/api/v1/tokens").status_code == 200


@pytest.mark.long
@pytest.mark.usefixtures("newer_image")
class TestOtherVersion:
    """A backup fits the version before and the version after it, whose schemas differ."""

    NOTES = "SELECT count(*) FROM notes"
    REVISION = "SELECT version_num FROM alembic_version"
    HAS_NOTES = "SELECT to_regclass('notes') IS NOT NULL"

    @pytest.fixture
    def old(self, stack: Stack, tmp_path: Path) -> Iterator[Path]:
        """A backup of the stack as it is, which comes back at the end."""
        file = tmp_path / "old.dump"
        stack.script("backup", str(file))
        yield file
        stack.script("release", ONE, ACCEPT_NEWER_SCHEMA="true")
        stack.script("restore", str(file))

    def test_both_ways(self, stack: Stack, old: Path, tmp_path: Path) -> None:
        new, [revision] = tmp_path / "new.dump", sql(stack, self.REVISION)
        stack.make_token("tokens:write")
        stack.script("release", NEWER)
        sql(stack, "INSERT INTO notes SELECT id FROM tokens LIMIT 1")
        stack.script("backup", str(new))

        # The old backup under the newer version, which migrates it.
        stack.script("restore", str(old))
        assert (sql(stack, self.REVISION), sql(stack, self.NOTES)) == (["9999"], ["0"])
        assert stack.versions() == {f"sha-of-{NEWER}"}
        stack.script("restore", str(new))
        assert sql(stack, self.NOTES) == ["1"]

        # After a rollback the schema is the newer one. The old backup brings back the older.
        stack.script("release", ONE, ACCEPT_NEWER_SCHEMA="true")
        stack.script("restore", str(old))
        assert (sql(stack, self.REVISION), sql(stack, self.HAS_NOTES)) == ([revision], ["f"])
        # A newer backup needs leave to be newer.
        with pytest.raises(AssertionError, match="a newer version of this code"):
            stack.script("restore", str(new), ACCEPT_NEWER_SCHEMA="false")
        assert sql(stack, self.HAS_NOTES) == ["f"]
        stack.script("restore", str(new), ACCEPT_NEWER_SCHEMA="true")
        assert sql(stack, self.NOTES) == ["1"]
        stack.until_healthy("app")


class Backup:
    """A file, a token that is too late for it, and a value in Redis that a restore removes."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.file, self.slow_file = stack, folder / "of.dump", folder / "slow.dump"
        self.token = stack.make_token("tokens:write")
        stack.script("backup", str(self.file))
        sql(stack, SLOW)
        stack.script("backup", str(self.slow_file))
        sql(stack, "DROP MATERIALIZED VIEW slow")
        with self.api() as api:
            self.inside = stored(api)
            make_token(api, "too late")
            self.latest = stored(api)
        redis(stack, "set of-the-old-rows 1")

    def api(self) -> httpx.Client:
        return self.stack.client(Authorization=f"Bearer {self.token}")

    def start(self, phase: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a restore; return when it is in this phase."""
        file = self.slow_file if phase == PHASES[0] else self.file
        restore = self.stack.start_script("restore", str(file), log=log)
        until(lambda: phase in log.read_text(), within=PATIENCE)
        if file == self.slow_file:
            until(lambda: sql(self.stack, LOADS) == ["1"], within=PATIENCE)
        return restore

    def is_stored(self) -> bool:
        """Tell whether the backup is in place, or the old data. A mixture fails."""
        with self.api() as api:
            until(lambda: api.get("/health").status_code == 200, within=PATIENCE)
            found = stored(api)
        assert found in (self.inside, self.latest)
        restored = found == self.inside
        assert redis(self.stack, "get of-the-old-rows") == ("" if restored else "1")
        return restored


@pytest.fixture
def backup(stack: Stack, tmp_path: Path) -> Iterator[Backup]:
    """Whatever happened to a restore, the next one succeeds and leaves nothing behind."""
    backup = Backup(stack, tmp_path)
    yield backup
    left = set(databases(stack)) - set(ALONE)
    said = stack.script("restore", str(backup.file))
    assert ("A restore was killed" in said) == bool(left)
    assert backup.is_stored()
    assert databases(stack) == ALONE
    assert redis(stack, "-n 1 dbsize") == "0"


# Each is what the script prints at that moment, and nothing else does.
PHASES = ["Loading '", "Migrating it", "Stopping app", "Starting them", "Deleting the old data"]


@pytest.mark.long
@pytest.mark.parametrize("phase", PHASES)
class TestPostgresDies:
    """The restore goes back to the old data, and starts Postgres for that. At its end it stays."""

    def test_while(self, stack: Stack, backup: Backup, log: Path, phase: str) -> None:
        # It waits so long for an app without Postgres, and later for one with it.
        stack.change(DEPLOY_TIMEOUT="45")
        restore = backup.start(phase, log)
        stack.container("db").kill()
        code, said = restore.wait(2 * PATIENCE), log.read_text()
        del stack.variables["DEPLOY_TIMEOUT"]
        assert code != 0, said
        restored = phase == PHASES[-1]
        if restored:
            assert "The service runs with the backup" in said
            stack.containers("db", every=True)[0].start()
        else:
            assert "The database stays as it was" in said
        assert backup.is_stored() == restored, said


@pytest.mark.long
@pytest.mark.parametrize("phase", PHASES)
class TestKilled:
    """After kill -9 no data is lost."""

    def test_while(self, backup: Backup, log: Path, phase: str) -> None:
        restore = backup.start(phase, log)
        os.killpg(restore.pid, signal.SIGKILL)
        restore.wait(PATIENCE)
        kept = set(databases(backup.stack))
        assert "drydock" in kept
        if phase == PHASES[0]:
            assert not backup.is_stored()


# Runs docker, and waits after the first call that swaps the two databases of Redis.
WAITS = """#!/bin/sh
case "$*" in
  *" swapdb "*)
    {docker} "$@" || exit
    [ -e {swapped} ] || {{ touch {swapped}; exec sleep 60; }}
    ;;
  *) exec {docker} "$@" ;;
esac
"""


@pytest.mark.long
class TestBetween:
    """Redis is swapped, and Postgres is not yet."""

    @pytest.fixture
    def swapped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A file that appears at this moment, at which the next restore waits."""
        program, file = tmp_path / "bin/docker", tmp_path / "swapped"
        program.parent.mkdir()
        program.write_text(WAITS.format(docker=shutil.which("docker"), swapped=file))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return file

    def restore(self, backup: Backup, log: Path, swapped: Path, end: signal.Signals) -> int:
        restore = backup.start(PHASES[2], log)
        until(swapped.exists, within=120)
        os.killpg(restore.pid, end)
        return restore.wait(240)

    def test_ctrl_c(self, backup: Backup, log: Path, swapped: Path) -> None:
        assert self.restore(backup, log, swapped, signal.SIGINT) == 130, log.read_text()
        assert "The database stays as it was" in log.read_text()
        assert not backup.is_stored()

    def test_a_deploy_after_kill(self, backup: Backup, log: Path, swapped: Path) -> None:
        """It has the old rows with an empty Redis, not the new rows with the old Redis."""
        self.restore(backup, log, swapped, signal.SIGKILL)
        backup.stack.script("release", ONE)
        with backup.api() as api:
            until(lambda: api.get("/health").status_code == 200, within=120)
            assert stored(api) == backup.latest
        assert redis(backup.stack, "get of-the-old-rows") == ""


@pytest.mark.long
class TestDeployAfterKill:
    """A deploy starts the service again, whatever a killed restore left."""

    @pytest.mark.parametrize("phase", [PHASES[2], PHASES[3]])
    def test_it_starts(self, backup: Backup, log: Path, phase: str) -> None:
        restore = backup.start(phase, log)
        os.killpg(restore.pid, signal.SIGKILL)
        restore.wait(PATIENCE)
        backup.stack.script("release", ONE)
        backup.is_stored()
