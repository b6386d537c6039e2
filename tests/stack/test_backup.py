"""What an operator does with the data: back it up, lose it, get it back; and a new password."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.polling import PATIENCE, until
from tests.stack.data import kill_postgres, make_token, redis, sql, stored
from tests.stack.stack import Stack

pytestmark = pytest.mark.timeout(300)

OTHERS = "FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
HELD = f"SELECT count(*) {OTHERS} AND wait_event = 'PgSleep'"
WAITS = f"SELECT count(*) {OTHERS} AND application_name = 'pg_dump' AND wait_event_type = 'Lock'"
RELEASE = f"SELECT pg_terminate_backend(pid) {OTHERS} AND query LIKE '%pg_sleep%'"
OWNERS = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
SETTINGS_WRONG, COPY_FAILED = 2, 3


class TestBackup:
    """A restore brings back what was stored at the backup, and nothing that came later."""

    def test_in_place(self, stack: Stack, tmp_path: Path) -> None:
        token, file = stack.make_token("tokens:write"), tmp_path / "of.dump"
        with stack.client(Authorization=f"Bearer {token}") as api:
            make_token(api, "kept")
            before = stored(api)
            assert stack.script("backup", str(file)) == f"{file}\n"
            assert file.stat().st_mode & 0o777 == 0o600
            make_token(api, "too late")
            redis(stack, "set before-the-restore 1")
            stack.script("restore", str(file), TAG="")
            until(lambda: api.get("/health").status_code == 200)
            assert stored(api) == before
            make_token(api, "after the restore")
        # Redis held data about rows that may be gone.
        assert redis(stack, "get before-the-restore") == ""

    @pytest.mark.long
    def test_from_before_there_were_roles(self, stack: Stack, tmp_path: Path) -> None:
        """The superuser made everything. An extension that only it can make stays its own."""
        token, file = stack.make_token("tokens:write"), tmp_path / "of.dump"
        extension = "pg_stat_statements"
        sql(stack, f"CREATE EXTENSION {extension}")
        sql(stack, "REVOKE ALL ON tokens FROM drydock_app")
        sql(stack, "ALTER TABLE tokens OWNER TO drydock")
        stack.script("backup", str(file))
        stack.script("restore", str(file))
        assert sql(stack, OWNERS) == ["drydock_owner"]
        assert sql(stack, f"DROP EXTENSION {extension}") == []
        with stack.client(Authorization=f"Bearer {token}") as api:
            make_token(api, "after the restore")

    @pytest.mark.long
    def test_after_the_volumes_were_removed(self, stack: Stack, tmp_path: Path) -> None:
        token, file = stack.make_token("tokens:write"), tmp_path / "of.dump"
        with stack.client(Authorization=f"Bearer {token}") as api:
            before = stored(api)
            stack.script("backup", str(file))
            stack.docker.compose.down(volumes=True, quiet=True)
            stack.up()
            assert api.get("/api/v1/tokens").status_code == 401
            stack.script("restore", str(file), TAG="")
            until(lambda: api.get("/health").status_code == 200)
            assert stored(api) == before


@pytest.fixture
def backups(stack: Stack) -> Iterator[Path]:
    """The folder of the stack's backups. It does not exist yet."""
    folder = stack.source / "backups"
    assert not folder.exists()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def code_of(stack: Stack, *words: str, **settings: str) -> tuple[int, str]:
    """Run a backup; return its exit code, and what it printed."""
    done = subprocess.run(
        ["deploy/backup", *words],
        cwd=stack.source,
        env={**os.environ, **stack.environment, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class TestFolder:
    """In backups/ nobody else can look, and only good backups push old ones out."""

    OLD = "drydock-20260101T000000Z.dump"
    OLDER = "drydock-20250101T000000Z.dump.age"

    @pytest.fixture
    def old(self, backups: Path) -> Path:
        backups.mkdir()
        for name in (self.OLD, self.OLDER, "mine.dump"):
            (backups / name).touch()
        return backups

    def test_only_the_owner_can_enter(self, stack: Stack, backups: Path) -> None:
        code, said = code_of(stack)
        assert code == 0
        assert backups.stat().st_mode & 0o777 == 0o700
        assert names(backups) == {Path(said.strip()).name}

    def test_the_oldest_go(self, stack: Stack, old: Path) -> None:
        new = Path(code_of(stack, BACKUP_KEEP="2")[1].strip()).name
        assert names(old) == {new, self.OLD, "mine.dump"}

    def test_it_may_be_a_link(self, stack: Stack, backups: Path, tmp_path: Path) -> None:
        (tmp_path / self.OLD).touch()
        backups.symlink_to(tmp_path)
        try:
            code, said = code_of(stack, BACKUP_KEEP="1")
            assert (code, names(backups)) == (0, {Path(said.strip()).name})
        finally:
            backups.unlink()

    def test_without_a_rule_all_stay(self, stack: Stack, old: Path) -> None:
        new = Path(code_of(stack)[1].strip()).name
        assert names(old) == {new, self.OLD, self.OLDER, "mine.dump"}

    def test_a_failed_copy_deletes_none(self, stack: Stack, old: Path) -> None:
        code, said = code_of(stack, BACKUP_KEEP="1", BACKUP_COPY="ls {} /nowhere")
        new, *_, last = said.splitlines()
        assert code == COPY_FAILED
        assert last.endswith("BACKUP_COPY failed. No old backup was deleted.")
        assert names(old) == {Path(new).name, self.OLD, self.OLDER, "mine.dump"}

    def test_it_is_on_the_disk_before_it_has_its_name(
        self, stack: Stack, backups: Path, tmp_path: Path
    ) -> None:
        """`sync FILE` and `sync FOLDER` are called, in this order, around the renaming."""
        log, program = tmp_path / "log", tmp_path / "bin" / "sync"
        program.parent.mkdir()
        real = shutil.which("sync")
        program.write_text(f'#!/bin/sh\nls -d "$1" backups/* >>{log}; exec {real} "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}:{os.environ['PATH']}"
        code, said = code_of(stack, PATH=path)
        file = said.strip()
        assert code == 0
        first, second, third, fourth = log.read_text().splitlines()
        assert first == second
        assert first.startswith(f"{file}.part.")
        assert (third, fourth) == ("backups", file)


class TestCopy:
    """The command gets the file's name, whatever characters are in it."""

    def test_it_runs(self, stack: Stack, tmp_path: Path) -> None:
        source, target = tmp_path / "it's a $HOME.dump", tmp_path / "elsewhere.dump"
        code, _ = code_of(stack, str(source), BACKUP_COPY=f"cp {{}} {shlex.quote(str(target))}")
        assert code == 0
        assert target.read_bytes() == source.read_bytes()


class TestSettings:
    """A wrong setting is refused before anything is written."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("BACKUP_KEEP", "0"),
            ("BACKUP_KEEP", "two"),
            ("BACKUP_COPY", "cp elsewhere"),
            ("BACKUP_RECIPIENT", "age1nonsense"),
        ],
    )
    def test_it_is_refused(self, stack: Stack, backups: Path, name: str, value: str) -> None:
        code, said = code_of(stack, **{name: value})
        assert code == SETTINGS_WRONG
        assert name in said
        assert not backups.exists()

    def test_dotenv_has_them_too(self, stack: Stack, backups: Path) -> None:
        dotenv = stack.source / ".env"
        assert not dotenv.exists()
        dotenv.write_text("BACKUP_KEEP=0\n")
        try:
            assert code_of(stack)[0] == SETTINGS_WRONG
        finally:
            dotenv.unlink()
        assert not backups.exists()


@pytest.mark.skipif(not shutil.which("age"), reason="the program age is not installed")
class TestEncryption:
    """Only the private key opens the file."""

    @pytest.fixture
    def key(self, tmp_path: Path) -> Path:
        file = tmp_path / "key.txt"
        subprocess.run(["age-keygen", "--output", file], check=True, capture_output=True)
        return file

    def test_round(self, stack: Stack, tmp_path: Path, key: Path) -> None:
        public = subprocess.run(
            ["age-keygen", "-y", key], check=True, capture_output=True, text=True
        ).stdout.strip()
        token, file = stack.make_token("tokens:write"), tmp_path / "of.dump.age"
        with stack.client(Authorization=f"Bearer {token}") as api:
            before = stored(api)
            made = stack.script("backup", str(tmp_path / "of.dump"), BACKUP_RECIPIENT=public)
            assert made == f"{file}\n"
            assert list(tmp_path.glob("of*")) == [file]
            assert file.read_bytes().startswith(b"age-encryption.org/v1")
            make_token(api, "too late")
            with pytest.raises(AssertionError, match=r"answered 2(.|\n)*BACKUP_IDENTITY"):
                stack.script("restore", str(file))
            stack.script("restore", str(file), BACKUP_IDENTITY=str(key))
            until(lambda: api.get("/health").status_code == 200)
            assert stored(api) == before


@pytest.fixture
def held(stack: Stack) -> Iterator[None]:
    """Something holds a lock on a table, and a backup waits for it."""
    hold = "begin; lock table tokens in access exclusive mode; select pg_sleep(60)"
    stack.container("db").execute(["psql", "-U", "drydock", "-c", hold], detach=True)
    until(lambda: sql(stack, HELD) == ["1"])
    yield
    sql(stack, RELEASE)


@pytest.mark.usefixtures("held")
class TestFailedBackup:
    """An incomplete backup leaves no file."""

    def test_ctrl_c(self, stack: Stack, tmp_path: Path) -> None:
        file, log = tmp_path / "of.dump", tmp_path / "log"
        backup = stack.start_script("backup", str(file), log=log)
        until(lambda: list(tmp_path.glob("of.dump*")))
        os.killpg(backup.pid, signal.SIGINT)
        assert backup.wait(PATIENCE) == 130, log.read_text()
        assert list(tmp_path.glob("of.dump*")) == []

    def test_postgres_dies(self, stack: Stack, backups: Path, tmp_path: Path) -> None:
        backups.mkdir()
        (backups / TestFolder.OLD).touch()
        stack.change(BACKUP_KEEP="1")
        backup = stack.start_script("backup", log=tmp_path / "log")
        until(lambda: sql(stack, WAITS) == ["1"])
        kill_postgres(stack)
        try:
            assert backup.wait(PATIENCE) == 1
        finally:
            del stack.variables["BACKUP_KEEP"]
            stack.until_healthy("db")
        assert "The backup failed. No file was made." in (tmp_path / "log").read_text()
        assert names(backups) == {TestFolder.OLD}


@pytest.mark.long
class TestNewPassword:
    """If the secrets of Postgres change, the next start gives its roles the new passwords."""

    def test_the_service_goes_on(self, stack: Stack) -> None:
        token = stack.make_token("tokens:write")
        stack.docker.compose.down(quiet=True)
        for name in ("database_password", "database_owner_password"):
            (stack.source / "secrets" / name).unlink()
        stack.script("make-secrets")
        stack.up()
        with stack.client(Authorization=f"Bearer {token}") as api:
            assert api.get("/api/v1/tokens").status_code == 200
