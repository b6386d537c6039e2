"""`docker compose up` for a developer: a copy of the repository, mounted into the containers."""

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from tests.polling import until
from tests.sockets import unused_port
from tests.stack.source import copy_of_repository, own_name, run
from tests.stack.stack import Stack, project

log = logging.getLogger("development")

UPS = int(os.environ.get("STACK_UPS", "3"))
SLOW_INIT = os.environ.get("STACK_SLOW_INIT", "")  # seconds; a release claims 25
RELOAD = 10.0  # seconds until an edit is served; two on a machine with nothing else to do

DEVELOPMENT = ("compose.yaml", "compose.override.yaml")
SERVICES = ("db", "redis", "app", "worker")

pytestmark = pytest.mark.timeout(300)


@contextmanager
def development(source: Path, folder: Path, repository: str) -> Iterator[Stack]:
    ports = ("PORT", "POSTGRES_PORT", "REDIS_PORT", "DEBUGGER_PORT")
    variables = {"APP_IMAGE": repository, **{port: str(unused_port()) for port in ports}}
    with project(source, folder, files=DEVELOPMENT, variables=variables) as stack:
        yield stack


@pytest.fixture(scope="module")
def repository(docker: DockerClient, source: Path) -> Iterator[str]:
    """The development image, built once."""
    name = own_name()
    docker.buildx.build(
        source, file=source / "Dockerfile.dev", tags=f"{name}:dev", load=True, progress=False
    )
    yield name
    docker.image.remove(f"{name}:dev", force=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """What a developer has cloned, as a user that is not root."""
    folder = copy_of_repository(tmp_path_factory.mktemp("checkout"), source)
    give(folder, 1000)
    open_way_to(folder)
    return folder


@pytest.fixture(scope="module")
def dev(
    checkout: Path, repository: str, stacks: list[Stack], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with development(checkout, tmp_path_factory.mktemp("dev") / "stack", repository) as stack:
        stacks.append(stack)
        stack.up()
        yield stack
        stacks.remove(stack)


def give(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def open_way_to(folder: Path) -> None:
    """Let everybody pass pytest's folders, which only root may enter: a home is like that."""
    for parent in folder.parents:
        if "pytest" in parent.name:
            parent.chmod(0o755)
    folder.chmod(0o755)


def owners(folder: Path) -> set[tuple[int, int]]:
    found = [path.lstat() for path in (folder, *folder.rglob("*"))]
    return {(status.st_uid, status.st_gid) for status in found}


class TestUp:
    """From an empty state every service becomes healthy, and neither app nor worker crashed."""

    def test_everything_is_healthy(self, dev: Stack) -> None:
        assert_up(dev)

    @pytest.mark.long
    @pytest.mark.timeout(120 * UPS)
    def test_again_and_again_from_empty_volumes(
        self, checkout: Path, repository: str, tmp_path: Path
    ) -> None:
        with development(checkout, tmp_path / "stack", repository) as stack:
            for number in range(1, UPS + 1):
                started = time.monotonic()
                stack.up()
                assert_up(stack)
                log.info("start %d: healthy after %.0f s", number, time.monotonic() - started)
                stack.docker.compose.down(volumes=True, timeout=2, quiet=True)

    @pytest.mark.long
    @pytest.mark.skipif(not SLOW_INIT, reason="STACK_SLOW_INIT=25 asks for it")
    def test_a_slow_first_initialisation(
        self, checkout: Path, repository: str, tmp_path: Path
    ) -> None:
        script, slow = tmp_path / "slow.sh", tmp_path / "slow.yaml"
        script.write_text(f"sleep {SLOW_INIT}\n")
        slow.write_text(
            f"services:\n  db:\n    volumes: [{script}:/docker-entrypoint-initdb.d/slow.sh:ro]\n"
        )
        open_way_to(tmp_path)
        with development(checkout, tmp_path / "stack", repository) as stack:
            stack.files = (*DEVELOPMENT, str(slow))
            started = time.monotonic()
            stack.up()
            assert time.monotonic() - started > float(SLOW_INIT)
            assert_up(stack)


def assert_up(stack: Stack) -> None:
    for service in SERVICES:
        found = stack.container(service)
        assert found.state.health is not None
        assert (found.state.health.status, found.restart_count) == ("healthy", 0), service
    # Inside of the containers too: what reloads them would start a crashed process again.
    for service, process in (("app", "drydock-web"), ("worker", "drydock-worker")):
        said = str(stack.docker.compose.logs([service]))
        assert len(re.findall(rf"started +process={process}", said)) == 1, said


class TestReload:
    """An edit is served at once. A file that can't be parsed is reported, and the next mends it."""

    def test_an_edit(self, dev: Stack, checkout: Path) -> None:
        until(titled(dev, "Drydock"), within=30)
        edit(checkout, 'title="Drydock"', 'title="Drydock edited"')
        until(titled(dev, "Drydock edited"), within=RELOAD)

    @pytest.mark.long
    def test_a_syntax_error(self, dev: Stack, checkout: Path) -> None:
        good = (checkout / "app/main.py").read_text()
        try:
            (checkout / "app/main.py").write_text(f"{good}\ndef broken(:\n")
            until(lambda: "SyntaxError" in str(dev.docker.compose.logs(["app"])), within=10)
        finally:
            (checkout / "app/main.py").write_text(
                re.sub('title="[^"]*"', 'title="Drydock mended"', good, count=1)
            )
        until(titled(dev, "Drydock mended"), within=RELOAD)
        assert dev.container("app").restart_count == 0

    @pytest.mark.long
    def test_the_worker_too(self, dev: Stack, checkout: Path) -> None:
        edit(checkout, 'name="drydock-worker"', 'name="drydock-edited"')
        until(lambda: "drydock-edited" in str(dev.docker.compose.logs(["worker"])), within=10)


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
    """Everything that is written under the mount belongs to who owns the folder."""

    @pytest.mark.long
    def test_a_migration_of_the_running_stack(self, dev: Stack, checkout: Path) -> None:
        command = ["python", "-m", "alembic", "revision", "--autogenerate", "-m", "from inside"]
        dev.docker.compose.run("app", command, remove=True, tty=False, dependencies=False)
        [written] = (checkout / "migrations/versions").glob("*_from_inside.py")
        assert owners(checkout) == {(1000, 1000)}
        written.unlink()  # the schema is up to date again

    def test_make_migration(self, dev: Stack, checkout: Path) -> None:
        run(["make", "migration", "m=by make"], cwd=checkout, env=dev.environment)
        [written] = (checkout / "migrations/versions").glob("*_by_make.py")
        assert (written.stat().st_uid, written.stat().st_gid) == (1000, 1000)

    @pytest.mark.long
    @pytest.mark.parametrize("uid", [0, 1000, 1234])
    def test_whoever_that_is(
        self, uid: int, docker: DockerClient, source: Path, repository: str, tmp_path: Path
    ) -> None:
        folder = copy_of_repository(tmp_path / "checkout", source)
        give(folder, uid)
        open_way_to(folder)
        said = docker.run(
            f"{repository}:dev",
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
        shutil.rmtree(folder)
