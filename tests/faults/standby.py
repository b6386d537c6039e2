"""A second Postgres that follows the first (streaming replication), and can take over from it."""

import shutil
from pathlib import Path

import psycopg

from dev.accounts import give, home_of, server_account
from dev.files import write_private
from dev.postgres import NAME, PostgresServer, as_role, server_programs
from tests.polling import until


class Standby(PostgresServer):
    """A copy of the primary, made at its first start. It accepts reads only, until `promote`."""

    primary: PostgresServer

    @classmethod
    def of(cls, primary: PostgresServer, folder: Path) -> "Standby":
        """Start a standby, and have the primary confirm no commit that the standby lacks."""
        standby = cls(folder, settings={**primary.settings, "cluster_name": "standby"})
        standby.primary = primary
        standby.start()
        ask(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        ask(primary, "SELECT pg_reload_conf()")
        until(lambda: ask(primary, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))
        return standby

    def promote(self) -> None:
        ask(self, "ALTER SYSTEM RESET synchronous_standby_names")
        ask(self, "SELECT pg_promote(wait_seconds => 60)")

    def _prepare(self) -> None:
        account = server_account()
        self._home = home_of(self.folder, account)
        self._programs = server_programs(self._home, account)
        self._password = self.primary._password
        data = self._home / "data"
        if not data.is_dir():
            # The roles come with the copy.
            shutil.copy(self.primary._home / "roles", self._home / "roles")
            write_private(self._home / "password", self._password)
            data.mkdir(mode=0o700)
            give(data, account)
            source = as_role(self.primary.url, NAME)
            options = ["--write-recovery-conf", "--checkpoint=fast", "--dbname", source]
            self._run(self._program("pg_basebackup", "--pgdata", data, *options))
        (data / "postmaster.pid").unlink(missing_ok=True)


def make_read_only(server: PostgresServer) -> None:
    """Start a killed primary as tools for failover do: as a standby, which accepts reads only."""
    data = server._home / "data"
    signal = data / "standby.signal"
    signal.touch()
    shutil.chown(signal, data.stat().st_uid, data.stat().st_gid)
    server.start()


def ask(server: PostgresServer, statement: str) -> list[tuple[object, ...]]:
    """Run SQL as the superuser."""
    with psycopg.connect(as_role(server.url, NAME), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
