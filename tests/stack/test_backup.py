"""What an operator does with the data: back it up, lose it, get it back; and the wrong password."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from python_on_whales.exceptions import DockerException

from tests.polling import until
from tests.stack.images import ONE, Images
from tests.stack.stack import Stack

pytestmark = pytest.mark.timeout(300)

RELEASE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()
"""


class TestBackup:
    """A restore brings back what was stored at the backup, and nothing that came later."""

    def test_in_place(self, stack: Stack, tmp_path: Path) -> None:
        token, file = stack.make_token("tokens:write"), tmp_path / "of.dump"
        with stack.client(Authorization=f"Bearer {token}") as api:
            make_token(api, "kept")
            before = stored(api)
            stack.script("backup", str(file))
            assert file.stat().st_mode & 0o777 == 0o600
            make_token(api, "too late")
            redis(stack, "set before-the-restore 1")
            stack.script("restore", str(file), TAG="")
            until(lambda: api.get("/health").status_code == 200, within=30)
            assert stored(api) == before
        # Redis held data about rows that may be gone.
        assert redis(stack, "get before-the-restore") == ""

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
            until(lambda: api.get("/health").status_code == 200, within=30)
            assert stored(api) == before


def redis(stack: Stack, command: str) -> str:
    password = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)"'
    return stack.run_in("redis", "sh", "-c", f"{password} redis-cli {command}")


def make_token(api: httpx.Client, name: str) -> None:
    wanted = {"name": name, "scopes": ["tokens:write"]}
    assert api.post("/api/v1/tokens", json=wanted).status_code == 201


def stored(api: httpx.Client) -> dict[str, str]:
    """Return the name of each token by its id."""
    tokens = api.get("/api/v1/tokens", params={"limit": 100}).json()["items"]
    return {token["id"]: token["name"] for token in tokens}


@pytest.mark.long
class TestDamagedBackup:
    """A damaged file changes nothing, and the service goes on in its version."""

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda content: content[:-100], "The restore failed"),
            (lambda content: b"garbage" + content, "is no backup"),
        ],
        ids=["cut off", "garbage"],
    )
    def test_nothing_changes(
        self,
        stack: Stack,
        images: Images,
        tmp_path: Path,
        damage: Callable[[bytes], bytes],
        reason: str,
    ) -> None:
        token = stack.make_token("tokens:write")
        file = tmp_path / "of.dump"
        stack.script("backup", str(file))
        file.write_bytes(damage(file.read_bytes()))
        # A restore is no deploy, so TAG has no effect.
        with pytest.raises(AssertionError, match=reason):
            stack.script("restore", str(file), TAG="")
        stack.until_healthy("worker")
        with stack.client(Authorization=f"Bearer {token}") as api:
            until(lambda: api.get("/api/v1/tokens").status_code == 200, within=10)
            assert api.get("/health/live").json()["version"] == images.version(ONE)


class TestFailedBackup:
    """An incomplete backup leaves no file."""

    def test_nothing_is_left(self, stack: Stack, tmp_path: Path) -> None:
        file, log = tmp_path / "of.dump", tmp_path / "log"
        psql = ["psql", "-U", "drydock", "-c"]
        hold = "begin; lock table tokens in access exclusive mode; select pg_sleep(60)"
        stack.container("db").execute([*psql, hold], detach=True)
        try:
            backup = stack.start_script("backup", str(file), log=log)
            until(lambda: list(tmp_path.glob("of.dump*")), within=10)
            os.killpg(backup.pid, signal.SIGINT)
            assert backup.wait(30) == 130, log.read_text()
        finally:
            stack.run_in("db", *psql, RELEASE)
        assert list(tmp_path.glob("of.dump*")) == []


@pytest.mark.long
class TestWrongPassword:
    """If the volume has another password than the secret, the message says so."""

    def test_it_is_explained(self, stack: Stack) -> None:
        stack.docker.compose.down(quiet=True)
        secrets = stack.folder / "secrets"
        shutil.copy(secrets / "database_password", stack.folder / "kept")
        (secrets / "database_password").unlink()
        stack.script("make-secrets")
        try:
            with pytest.raises(DockerException):
                stack.up()
            said = str(stack.docker.compose.logs(["migrate"]))
            assert "password" in said
            assert "volume" in said
            assert "Traceback" not in said
        finally:
            shutil.copy(stack.folder / "kept", secrets / "database_password")
            stack.docker.compose.down(quiet=True)
            stack.up()
