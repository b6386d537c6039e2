"""What an operator does with the data: back it up, lose it, get it back; and the wrong password."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from python_on_whales.exceptions import DockerException

from tests.stack.images import ONE, Images
from tests.stack.polling import until
from tests.stack.stack import Stack, production


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


def everything(api: httpx.Client) -> dict[str, object]:
    """Return what the API tells of all that is stored."""
    tokens = api.get("/api/v1/tokens", params={"limit": 100}).json()["items"]
    # begin sample
    links = api.get("/api/v1/links", params={"limit": 100}).json()["items"]
    clicks = {
        link["slug"]: (link, api.get(f"/api/v1/links/{link['slug']}/clicks").json()["total"])
        for link in links
    }
    # end sample
    return {
        **{item["id"]: item["name"] for item in tokens},
        **clicks,  # sample
    }


class TestBackup:
    """backup, down -v, restore brings back everything, and every count of it."""

    def test_round(self, own_stack: Stack, tmp_path: Path) -> None:
        token = own_stack.make_token(
            "links:read",  # sample
            "links:write",  # sample
            "tokens:write",
        )
        with own_stack.client(Authorization=f"Bearer {token}") as api:
            for number in range(30):
                kept = {"name": f"kept-{number}", "scopes": ["tokens:write"]}
                assert api.post("/api/v1/tokens", json=kept).status_code == 201
            # begin sample
            for number in range(30):
                link = {"url": f"https://example.com/{number}", "slug": f"kept-{number}"}
                assert api.post("/api/v1/links", json=link).status_code == 201
                for _ in range(number % 4):
                    assert api.get(f"/kept-{number}").status_code == 302
            clicks = sum(number % 4 for number in range(30))
            until(lambda: counted(everything(api)) == clicks, within=20)
            # end sample
            before = everything(api)
            assert len(before) >= 30

        file = tmp_path / "of.dump"
        own_stack.script("backup", str(file))
        assert file.stat().st_mode & 0o777 == 0o600
        own_stack.docker.compose.down(volumes=True, quiet=True)
        own_stack.up()
        with own_stack.client(Authorization=f"Bearer {token}") as api:
            assert api.get("/api/v1/tokens").status_code == 401
            own_stack.script("restore", str(file), TAG="")
            until(lambda: api.get("/health").status_code == 200, within=30)
            assert everything(api) == before


# begin sample
def counted(found: dict[str, object]) -> int:
    return sum(entry[1] for entry in found.values() if isinstance(entry, tuple))


# end sample


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
