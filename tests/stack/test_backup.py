"""What an operator does with the data: back it up, lose it, get it back; and the wrong password."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from python_on_whales.exceptions import DockerException

from tests.polling import until
from tests.stack.images import ONE, Images
from tests.stack.stack import Stack, production

pytestmark = pytest.mark.timeout(300)

REDIS_CLI = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" redis-cli'


@pytest.fixture(scope="module")
def own_stack(
    source: Path, images: Images, stacks: list[Stack], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("backup") / "stack"
    with production(source, folder, images.repository, ONE) as stack:
        stacks.append(stack)
        stack.up()
        yield stack
        stacks.remove(stack)


class TestBackup:
    """backup, down --volumes, restore brings back what was stored, and nothing from after it."""

    def test_round(self, own_stack: Stack, tmp_path: Path) -> None:
        token, file = own_stack.make_token("tokens:write"), tmp_path / "of.dump"
        with own_stack.client(Authorization=f"Bearer {token}") as api:
            for number in range(30):
                make_token(api, f"kept-{number}")
            before = stored(api)
            own_stack.script("backup", str(file))
            assert file.stat().st_mode & 0o777 == 0o600
            make_token(api, "too late")
            own_stack.run_in("redis", "sh", "-c", f"{REDIS_CLI} set before-the-restore 1")
            own_stack.script("restore", str(file), TAG="")
            assert stored(api) == before
            # What Redis held was about rows that may be gone.
            assert (
                own_stack.run_in("redis", "sh", "-c", f"{REDIS_CLI} get before-the-restore") == ""
            )

            own_stack.docker.compose.down(volumes=True, quiet=True)
            own_stack.up()
            assert api.get("/api/v1/tokens").status_code == 401
            own_stack.script("restore", str(file), TAG="")
            until(lambda: api.get("/health").status_code == 200, within=30)
            assert stored(api) == before


def make_token(api: httpx.Client, name: str) -> None:
    wanted = {"name": name, "scopes": ["tokens:write"]}
    assert api.post("/api/v1/tokens", json=wanted).status_code == 201


def stored(api: httpx.Client) -> dict[str, str]:
    """Return the name of each token by its id."""
    tokens = api.get("/api/v1/tokens", params={"limit": 100}).json()["items"]
    return {token["id"]: token["name"] for token in tokens}


@pytest.mark.long
class TestDamagedBackup:
    """A file that is no whole backup changes nothing, and the service goes on in its version."""

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
        own_stack: Stack,
        images: Images,
        tmp_path: Path,
        damage: Callable[[bytes], bytes],
        reason: str,
    ) -> None:
        token = own_stack.make_token("tokens:write")
        file = tmp_path / "of.dump"
        own_stack.script("backup", str(file))
        file.write_bytes(damage(file.read_bytes()))
        # Whatever TAG says at that moment: a restore is no deploy.
        with pytest.raises(AssertionError, match=reason):
            own_stack.script("restore", str(file), TAG="")
        own_stack.until_healthy("worker")
        with own_stack.client(Authorization=f"Bearer {token}") as api:
            until(lambda: api.get("/api/v1/tokens").status_code == 200, within=10)
            assert api.get("/health/live").json()["version"] == images.version(ONE)


class TestFailedBackup:
    """What is not complete gets no name."""

    def test_nothing_is_left(self, own_stack: Stack, tmp_path: Path) -> None:
        file, log = tmp_path / "of.dump", tmp_path / "log"
        hold = "begin; lock table tokens in access exclusive mode; select pg_sleep(8)"
        database = own_stack.container("db")
        database.execute(["psql", "-U", "drydock", "-c", hold, "drydock"], detach=True)
        backup = own_stack.start_script("backup", str(file), log=log)
        until(lambda: list(tmp_path.glob("of.dump*")), within=10)
        os.killpg(backup.pid, signal.SIGINT)
        assert backup.wait(30) == 130, log.read_text()
        assert list(tmp_path.glob("of.dump*")) == []


@pytest.mark.long
class TestWrongPassword:
    """Another password on a volume that exists is recognised, and the remedy is named."""

    def test_it_is_explained(self, own_stack: Stack) -> None:
        own_stack.docker.compose.down(quiet=True)
        secrets = own_stack.folder / "secrets"
        shutil.copy(secrets / "database_password", own_stack.folder / "kept")
        (secrets / "database_password").unlink()
        own_stack.script("make-secrets")
        try:
            with pytest.raises(DockerException):
                own_stack.up()
            said = str(own_stack.docker.compose.logs(["migrate"]))
            assert "password" in said
            assert "volume" in said
            assert "Traceback" not in said
        finally:
            shutil.copy(own_stack.folder / "kept", secrets / "database_password")
            own_stack.docker.compose.down(quiet=True)
            own_stack.up()
