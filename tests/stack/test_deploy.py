"""Under load, neither a new version nor a crash loses a request.

STACK_LOAD_SECONDS=60 makes each case as long as a release claims; by default they are shorter.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.stack.images import BROKEN, LAME, ONE, SILENT, TWO, WRONG, Images
from tests.stack.load import CONNECTIONS, MADE, Outcome, Target, under_load
from tests.stack.polling import until
from tests.stack.source import run
from tests.stack.stack import Stack, signal_worker

log = logging.getLogger("load")

SECONDS = float(os.environ.get("STACK_LOAD_SECONDS", "15"))

KILLS = 3

pytestmark = pytest.mark.timeout(240 + SECONDS)


@pytest.fixture(scope="module")
def target(stack: Stack, token: str, api: httpx.Client) -> Target:
    links = [{"url": f"https://example.com/{n}", "slug": f"loaded-{n}"} for n in range(20)]
    for link in links:
        assert api.post("/api/v1/links", json=link).status_code == 201
    return Target(int(stack.variables["HTTPS_PORT"]), token, [link["slug"] for link in links])


@contextmanager
def nothing_lost(
    stack: Stack, target: Target, api: httpx.Client, *, held: int = 0
) -> Iterator[Outcome]:
    """Load the stack during the block; then every request was answered, and counted or done once.

    So many requests at most may have been held by a process that was killed. The proxy sends them
    to another: a POST makes no second link, a redirect may count twice.
    """
    before, links = clicks(api, target), links_made(stack)
    with under_load(target, seconds=SECONDS) as outcome:
        yield outcome
    log.info("%s", outcome)
    assert outcome.sent >= 100 * min(SECONDS, 10)
    assert outcome.lost == []
    assert outcome.wrong == []
    assert links_made(stack) - links == len(set(outcome.made)) == len(outcome.made)
    until(lambda: clicks(api, target) - before >= outcome.clicks, within=30, every=0.5)
    assert 0 <= clicks(api, target) - before - outcome.clicks <= held
    for slug in outcome.made[::50]:
        assert api.get(f"/api/v1/links/{slug}").status_code == 200
    stack.until_healthy("app")


def links_made(stack: Stack) -> int:
    query = f"SELECT count(*) FROM links WHERE url = '{MADE}'"
    return int(stack.run_in("db", "psql", "-At", "-U", "drydock", "-c", query))


def clicks(api: httpx.Client, target: Target) -> int:
    answers = [api.get(f"/api/v1/links/{slug}/clicks") for slug in target.slugs]
    return sum(answer.json()["total"] for answer in answers)


def versions(stack: Stack) -> set[str]:
    with stack.client() as client:
        return {client.get("/health/live").json()["version"] for _ in range(4)}


class TestDeploy:
    """A new version takes over, and the old one comes back, without a request lost."""

    def test_a_new_version(self, stack: Stack, target: Target, api: httpx.Client) -> None:
        with nothing_lost(stack, target, api):
            run(["make", "deploy", f"TAG={TWO}"], cwd=stack.source, env=stack.environment)
        assert versions(stack) == {"sha-of-two"}
        [worker] = stack.containers("worker")
        assert worker.config.image == f"{stack.variables['APP_IMAGE']}:{TWO}"

    def test_and_back(
        self, stack: Stack, images: Images, target: Target, api: httpx.Client
    ) -> None:
        now, before = (stack.folder / "deployed").read_text().split()
        assert (now, before) == (TWO, ONE)
        with nothing_lost(stack, target, api):
            run(["make", "rollback"], cwd=stack.source, env=stack.environment)
        assert versions(stack) == {images.version(ONE)}


class TestBrokenVersion:
    """A version that does not become ready is removed, and says why; the old one serves on."""

    def test_it_answers_nobody(self, stack: Stack, target: Target, api: httpx.Client) -> None:
        with (
            nothing_lost(stack, target, api),
            pytest.raises(AssertionError, match="did not become ready within 8 s"),
        ):
            stack.script("release", WRONG, DEPLOY_TIMEOUT="8")

    @pytest.mark.parametrize(
        ("tag", "reason"),
        [
            (BROKEN, "the engine room is flooded"),
            (SILENT, "did not become ready within 8 s"),
            (LAME, "the stoker is asleep"),
            ("never-built", "There is no image"),
        ],
    )
    def test_the_old_one_stays(self, stack: Stack, tag: str, reason: str) -> None:
        before, version = stack.container("app").id, versions(stack)
        worker = stack.container("worker").config.image
        with pytest.raises(AssertionError, match="answered 1") as failed:
            stack.script("release", tag, DEPLOY_TIMEOUT="8")
        assert reason in str(failed.value)
        assert re.search(r"The old version( \(\w+\))? stays", str(failed.value))
        assert stack.container("app").id == before
        assert versions(stack) == version
        stack.until_healthy("worker")
        assert stack.container("worker").config.image == worker


class TestCrashes:
    """Neither a restart nor a killed process loses a request, or makes two links of one."""

    def test_restart(self, stack: Stack, target: Target, api: httpx.Client) -> None:
        with nothing_lost(stack, target, api):
            stack.docker.compose.restart(["app"])

    def test_a_killed_worker_process(self, stack: Stack, target: Target, api: httpx.Client) -> None:
        container = stack.container("app")
        with nothing_lost(stack, target, api, held=CONNECTIONS):
            killed = signal_worker(container, "KILL")
        assert signal_worker(container, "CONT") != killed
        assert stack.container("app").restart_count == 0

    def test_what_a_killed_process_held(
        self, stack: Stack, target: Target, api: httpx.Client
    ) -> None:
        # Of the requests that wait for a frozen database some were committed, or will be.
        app, database = stack.container("app"), stack.container("db")
        with nothing_lost(stack, target, api, held=KILLS * CONNECTIONS):
            for _ in range(KILLS):
                database.pause()
                try:
                    time.sleep(0.4)
                    signal_worker(app, "KILL")
                finally:
                    database.unpause()
                time.sleep(3)  # another process is there, and answers
