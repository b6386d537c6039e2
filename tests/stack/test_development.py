"""`docker compose up` for a developer."""

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from tests.polling import until
from tests.stack.development import OWNER, checked_out, development, open_way_to, owners
from tests.stack.source import run
from tests.stack.stack import Stack

log = logging.getLogger("development")

UPS = int(os.environ.get("STACK_UPS", "3"))
SLOW_INIT = os.environ.get("STACK_SLOW_INIT", "")  # seconds; a release claims 25
RELOAD = 10.0  # seconds until an edit is served; two on a machine with nothing else to do
IMPORTS = 8  # or as long as so many imports of the app take on a busy machine

pytestmark = pytest.mark.timeout(300)


class TestUp:
    """From an empty state every service becomes healthy, and neither app nor worker crashed."""

    def test_everything_is_healthy(self, dev: Stack) -> None:
        assert_up(dev)

    @pytest.mark.long
    @pytest.mark.timeout(120 * UPS)
    def test_again_and_again_from_empty_volumes(
        self, checkout: Path, dev_repository: str, tmp_path: Path
    ) -> None:
        with development(checkout, tmp_path / "stack", dev_repository) as stack:
            for number in range(1, UPS + 1):
                started = time.monotonic()
                stack.up()
                assert_up(stack)
                log.info("start %d: healthy after %.0f s", number, time.monotonic() - started)
                stack.docker.compose.down(volumes=True, timeout=2, quiet=True)

    @pytest.mark.long
    @pytest.mark.skipif(not SLOW_INIT, reason="STACK_SLOW_INIT=25 asks for it")
    def test_a_slow_first_initialisation(
        self, checkout: Path, dev_repository: str, tmp_path: Path
    ) -> None:
        script, slow = tmp_path / "slow.sh", tmp_path / "slow.yaml"
        script.write_text(f"sleep {SLOW_INIT}\n")
        slow.write_text(
            f"services:\n  db:\n    volumes: [{script}:/docker-entrypoint-initdb.d/slow.sh:ro]\n"
        )
        open_way_to(tmp_path)
        with development(checkout, tmp_path / "stack", dev_repository, str(slow)) as stack:
            started = time.monotonic()
            stack.up()
            assert time.monotonic() - started > float(SLOW_INIT)
            assert_up(stack)


def assert_up(stack: Stack) -> None:
    for service in ("db", "redis", "app", "worker"):
        found = stack.container(service)
        assert found.state.health is not None
        assert (found.state.health.status, found.restart_count) == ("healthy", 0), service
    # A reloader starts a crashed process again inside its container, which Docker does not count.
    for service, process in (("app", "drydock-web"), ("worker", "drydock-worker")):
        said = str(stack.docker.compose.logs([service]))
        assert len(re.findall(rf"started +process={process}", said)) == 1, said


def soon(dev: Stack) -> float:
    """Return the seconds in which this machine serves an edit: more if an import is slow now."""
    started = time.monotonic()
    dev.run_in("app", "python", "-c", "import app.main")
    return max(RELOAD, IMPORTS * (time.monotonic() - started))


class TestReload:
    """An edit is served at once. A syntax error is logged, and the next edit mends it."""

    def test_an_edit(self, dev: Stack, checkout: Path) -> None:
        until(titled(dev, "Drydock"))
        edit(checkout, 'title="Drydock"', 'title="Drydock edited"')
        until(titled(dev, "Drydock edited"), within=soon(dev))

    @pytest.mark.long
    def test_a_syntax_error(self, dev: Stack, checkout: Path) -> None:
        module = checkout / "app/main.py"
        good = module.read_text()
        module.write_text(f"{good}\ndef broken(:\n")
        until(lambda: "SyntaxError" in str(dev.docker.compose.logs(["app"])))
        module.write_text(re.sub('title="[^"]*"', 'title="Drydock mended"', good, count=1))
        until(titled(dev, "Drydock mended"), within=soon(dev))
        assert dev.container("app").restart_count == 0

    @pytest.mark.long
    def test_the_worker_too(self, dev: Stack, checkout: Path) -> None:
        edit(checkout, 'name="drydock-worker"', 'name="drydock-edited"')
        until(
            lambda: "drydock-edited" in str(dev.docker.compose.logs(["worker"])), within=soon(dev)
        )


def edit(checkout: Path, old: str, new: str) -> None:
    [file] = [path for path in (checkout / "app").glob("*.py") if old in path.read_text()]
    file.write_text(file.read_text().replace(old, new))


def titled(dev: Stack, title: str) -> Callable[[], bool]:
    def look() -> bool:
        with dev.client() as client:
            answer = client.get("/openapi.json")
            return answer.status_code == 200 and answer.json()["info"]["title"] == title

    return look


@pytest.mark.long
class TestData:
    """down and up keep what was stored; down -v removes it."""

    def test_kept_and_removed(self, dev: Stack) -> None:
        token = dev.make_token("tokens:write")
        with dev.client(Authorization=f"Bearer {token}") as api:
            kept = {"name": "kept", "scopes": ["tokens:write"]}
            assert api.post("/api/v1/tokens", json=kept).status_code == 201
            dev.docker.compose.down(timeout=5, quiet=True)
            dev.up()
            names = [item["name"] for item in api.get("/api/v1/tokens").json()["items"]]
            assert sorted(names) == ["kept", "tests"]
            dev.docker.compose.down(volumes=True, timeout=5, quiet=True)
            dev.up()
            assert api.get("/api/v1/tokens").status_code == 401


class TestOwner:
    """What containers write under the mount belongs to the owner of the folder."""

    def test_make_migration(self, dev: Stack, checkout: Path) -> None:
        run(["make", "migration", "m=by make"], cwd=checkout, env=dev.environment)
        [written] = (checkout / "migrations/versions").glob("*_by_make.py")
        assert owners(checkout) == {OWNER}
        written.unlink()  # the schema is up to date again

    @pytest.mark.long
    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
    @pytest.mark.parametrize("uid", [0, 1234])
    def test_whoever_that_is(
        self, uid: int, docker: DockerClient, source: Path, dev_repository: str, tmp_path: Path
    ) -> None:
        folder = checked_out(tmp_path / "checkout", source, owner=(uid, uid))
        said = docker.run(
            f"{dev_repository}:dev",
            ["python", "-m", "alembic", "revision", "-m", "from inside"],
            remove=True,
            read_only=True,
            tmpfs=[Path("/tmp")],
            cap_drop=["ALL"],
            cap_add=["SETUID", "SETGID"],
            security_options=["no-new-privileges"],
            volumes=[(folder, "/srv")],
            envs={"DATABASE_URL": "postgresql://nobody@nowhere/none", "REDIS_URL": "redis://none"},
        )
        assert re.search("Generating .*_from_inside.py", str(said))
        assert owners(folder) == {(uid, uid)}
