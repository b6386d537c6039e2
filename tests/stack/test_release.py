"""A release that is interrupted, killed, not alone, or not needed."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from tests.polling import until
from tests.stack.images import BROKEN, LAME, ONE, SILENT, TWO, Images, names_in
from tests.stack.stack import PATIENCE, Stack, tag_of

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "release.log"


def runs(stack: Stack) -> str:
    """Return the tag that app and worker run, each in one container."""
    containers = [stack.container(name) for name in ("app", "worker")]
    [_] = {container.image for container in containers}
    [tag] = {tag_of(str(container.config.image)) for container in containers}
    assert len(stack.containers("app", every=True)) == 1
    return tag


def other(tag: str) -> str:
    return {ONE: TWO, TWO: ONE}[tag]


def released(stack: Stack, *words: str) -> str:
    """Return what a release said, or nothing while another one holds the lock."""
    said = stack.script("release", *words, check=False)
    return "" if "under way" in said else said


def says(log: Path, words: str) -> None:
    until(lambda: words in log.read_text())


def both_exist(stack: Stack) -> None:
    until(lambda: len(stack.containers("app")) == 2)


def lasting(docker: DockerClient, images: Images) -> set[str]:
    """Return the tags of the images that deploy/release has given a name that lasts."""
    return {tag_of(name) for name in names_in(docker, images.repository) if ".id-" in name}


@pytest.mark.long
@pytest.mark.usefixtures("faulty_images")
class TestBrokenVersion:
    """A version that does not become ready is removed, and says why. The old one serves on."""

    @pytest.mark.parametrize(
        ("tag", "reason"),
        [
            (BROKEN, "the engine room is flooded"),
            (SILENT, "did not become ready within 8 s"),
            (LAME, "the stoker is asleep"),
            ("never-built", "There is no image"),
        ],
    )
    def test_the_old_one_stays(
        self, stack: Stack, docker: DockerClient, images: Images, tag: str, reason: str
    ) -> None:
        before, container, version = runs(stack), stack.container("app").id, stack.versions()
        with pytest.raises(AssertionError, match="answered 1") as failed:
            stack.script("release", tag, DEPLOY_TIMEOUT="8" if tag == SILENT else "")
        assert reason in str(failed.value)
        assert re.search(r"The old version( \(\w+\))? stays", str(failed.value))
        assert (runs(stack), stack.container("app").id) == (before, container)
        assert stack.versions() == version
        stack.until_healthy("worker")
        assert tag not in lasting(docker, images)


@pytest.mark.long
class TestOldImages:
    """The running image and the one before keep their lasting names, and older ones lose them."""

    def test_three_versions(self, stack: Stack, docker: DockerClient, images: Images) -> None:
        before, third = runs(stack), "third"
        docker.image.tag(images.name(before), images.name(third))
        stack.script("release", other(before))
        stack.script("release", third)
        assert lasting(docker, images) >= {third, other(before)}
        assert before not in lasting(docker, images)
        stack.script("release", before)
        stack.script("release", other(before))
        assert third not in lasting(docker, images)


@pytest.mark.long
class TestTwoAtOnce:
    """The second one is refused, and does no harm to the first."""

    def test_the_second_is_refused(self, stack: Stack, log: Path) -> None:
        wanted = other(runs(stack))
        first = stack.start_script("release", wanted, log=log)
        says(log, "Migrating")
        with pytest.raises(AssertionError, match="Another deploy or restore is under way"):
            stack.script("release", wanted)
        assert first.wait(PATIENCE) == 0, log.read_text()
        assert runs(stack) == wanted


class TestInterrupted:
    """Ctrl-C takes everything back; after kill -9 the next release cleans up."""

    def test_ctrl_c(self, stack: Stack, log: Path) -> None:
        before, container = runs(stack), stack.container("app").id
        release = stack.start_script("release", other(before), log=log)
        both_exist(stack)
        os.killpg(release.pid, signal.SIGINT)
        assert release.wait(PATIENCE) == 130, log.read_text()
        assert f"The old version ({before}) stays" in log.read_text()
        assert (runs(stack), stack.container("app").id) == (before, container)

    @pytest.mark.long
    def test_ctrl_c_is_too_late_while_the_old_ones_finish(self, stack: Stack, log: Path) -> None:
        wanted = other(runs(stack))
        release = stack.start_script("release", wanted, log=log)
        says(log, "Letting")
        os.killpg(release.pid, signal.SIGINT)
        assert release.wait(PATIENCE) == 0, log.read_text()
        assert runs(stack) == wanted

    @pytest.mark.long
    @pytest.mark.parametrize("phase", ["Migrating", "Starting", "replacing the worker"])
    @pytest.mark.parametrize("then", ["release", "rollback"])
    def test_killed_before_the_old_ones_finish(
        self, stack: Stack, log: Path, phase: str, then: str
    ) -> None:
        """The old version serves on. A rollback goes to it, and not to the one before it."""
        before, state = runs(stack), stack.deployed()[1:]
        release = stack.start_script("release", other(before), log=log)
        says(log, phase)
        os.killpg(release.pid, signal.SIGKILL)
        release.wait(PATIENCE)
        with stack.client() as client:
            assert client.get("/health/live").status_code == 200
        wanted, words = (other(before), (other(before),))
        if then == "rollback":
            wanted, words = before, ("--rollback",)
        said = until(lambda: released(stack, *words))
        assert "Cleaning up behind a release that was killed" in said
        assert runs(stack) == wanted
        assert stack.deployed() == [wanted, *(state if wanted == before else [before])]
        assert stack.oneoffs() == []

    @pytest.mark.long
    def test_killed_while_the_old_ones_finish(self, stack: Stack, log: Path) -> None:
        before = runs(stack)
        release = stack.start_script("release", other(before), log=log)
        says(log, "Letting")
        release.kill()
        release.wait(PATIENCE)
        # Its child process still stops the old containers, and holds the lock until then.
        said = until(lambda: released(stack, before))
        assert "Cleaning up behind a release that was killed" in said
        assert runs(stack) == before
        assert stack.deployed() == [before, other(before)]


@pytest.mark.long
class TestFullDisk:
    """If its files can't be written, a release changes nothing, or the next one completes it."""

    @pytest.fixture
    def full(self, stack: Stack, request: pytest.FixtureRequest) -> Iterator[Path]:
        """A folder where the release wants to write a file, so that this fails."""
        obstacle = stack.source / request.param
        obstacle.mkdir()
        yield obstacle
        if obstacle.exists():
            obstacle.rmdir()

    @pytest.mark.parametrize("full", [".deployed.journal.new"], indirect=True)
    def test_at_the_start(self, stack: Stack, full: Path) -> None:
        before, container = runs(stack), stack.container("app").id
        with pytest.raises(AssertionError, match=rf"The old version \({before}\) stays"):
            stack.script("release", other(before))
        assert (runs(stack), stack.container("app").id) == (before, container)

    @pytest.mark.parametrize("full", [".deployed.new"], indirect=True)
    def test_at_the_end(self, stack: Stack, full: Path) -> None:
        before = runs(stack)
        with pytest.raises(AssertionError, match="can't be written, so both versions run"):
            stack.script("release", other(before))
        assert stack.versions()
        full.rmdir()
        stack.script("release", "--rollback")
        assert runs(stack) == before
        assert stack.deployed() == [before, other(before)]


@pytest.mark.long
class TestSameVersion:
    """A release of the running version makes new containers, and keeps the version before."""

    def test_it_is_made_anew(self, stack: Stack) -> None:
        before, container = runs(stack), stack.container("app").id
        deployed = (stack.source / ".deployed").read_text()
        stack.script("release", before)
        assert runs(stack) == before
        assert stack.container("app").id != container
        assert (stack.source / ".deployed").read_text() == deployed


@pytest.mark.long
class TestEarlierRelease:
    """Releases once wrote tags to their state file, and not names of images."""

    def test_it_can_be_rolled_back(self, stack: Stack) -> None:
        before = runs(stack)
        (stack.source / ".deployed").write_text(f"{before} {other(before)}\n")
        stack.script("release", "--rollback")
        assert runs(stack) == other(before)
        assert stack.deployed() == [other(before), before]


@pytest.mark.long
class TestScaled:
    """Each of the old containers gets a new one in its place."""

    def test_two_by_two(self, stack: Stack) -> None:
        before = runs(stack)
        stack.scale(2)
        old = {found.id for found in stack.containers("app")}
        stack.script("release", other(before))
        new = {found.id for found in stack.containers("app", every=True)}
        assert (len(new), old & new) == (2, set())
        stack.scale(1)
        assert runs(stack) == other(before)
