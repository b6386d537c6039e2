"""Under load, a new version loses no request, and a crash only those that the process held.

STACK_LOAD_SECONDS=60 makes each case as long as a release claims. By default they are shorter.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from tests.stack.images import ONE, TWO, WRONG, Images
from tests.stack.load import Outcome, under_load
from tests.stack.source import run
from tests.stack.stack import Stack, signal_worker

SECONDS = float(os.environ.get("STACK_LOAD_SECONDS", "5"))
RATE = 50  # requests a second
# Fewer than DATABASE_POOL_SIZE (10): on a slow machine no request waits for a connection until 503.
CONNECTIONS = 8
TOKENS = "/api/v1/tokens"
# The name of each token that is made under load. Their number shows a POST that was done twice.
MADE = "made under load"
POST_EVERY = 20  # one of so many requests

pytestmark = pytest.mark.timeout(240 + SECONDS)


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.make_token("tokens:write")


def ask(token: str, client: httpx.AsyncClient, number: int, *, post_every: int) -> httpx.Request:
    headers = {"Authorization": f"Bearer {token}"}
    if post_every and number % post_every == 0:
        wanted = {"name": MADE, "scopes": ["tokens:write"]}
        return client.build_request("POST", TOKENS, headers=headers, json=wanted)
    return client.build_request("GET", TOKENS, headers=headers, params={"limit": 1})


@contextmanager
def nothing_lost(
    stack: Stack, token: str, *, post_every: int = POST_EVERY, held: int = 0
) -> Iterator[Outcome]:
    """Load the stack during the block. Then each request was answered, and done once.

    At most `held` requests were held by a process that was killed. The proxy can't know whether
    they were done, and does not send them again.
    """
    before = tokens_made(stack)
    build = partial(ask, token, post_every=post_every)
    load = under_load(stack.url, build, rate=RATE, seconds=SECONDS, connections=CONNECTIONS)
    with load as outcome:
        yield outcome
    outcome.check(held=held)
    assert tokens_made(stack) - before == len(outcome.made)
    stack.until_healthy("app")


def tokens_made(stack: Stack) -> int:
    query = f"SELECT count(*) FROM tokens WHERE name = '{MADE}'"
    return int(stack.run_in("db", "psql", "-At", "-U", "drydock", "-c", query))


class TestDeploy:
    """A new version takes over, and the old one comes back, without a request lost."""

    def test_deploy_and_rollback(self, stack: Stack, images: Images, token: str) -> None:
        with nothing_lost(stack, token):
            run(["make", "deploy", f"TAG={TWO}"], cwd=stack.source, env=stack.environment)
            assert stack.versions() == {images.version(TWO)}
            assert stack.container("worker").image == images.id(TWO)
            assert stack.deployed() == [TWO, ONE]
            run(["make", "rollback"], cwd=stack.source, env=stack.environment)
        assert stack.versions() == {images.version(ONE)}

    @pytest.mark.long
    @pytest.mark.usefixtures("faulty_images")
    def test_a_version_that_answers_nonsense(self, stack: Stack, token: str) -> None:
        with nothing_lost(stack, token), pytest.raises(AssertionError, match="not become ready"):
            stack.script("release", WRONG, DEPLOY_TIMEOUT="8")


@pytest.mark.long
class TestCrashes:
    """A restart loses no request, and a killed process loses those that it held."""

    def test_restart(self, stack: Stack, token: str) -> None:
        with nothing_lost(stack, token):
            stack.docker.compose.restart(["app"])

    def test_a_killed_worker_process(self, stack: Stack, token: str) -> None:
        container = stack.container("app")
        with nothing_lost(stack, token, post_every=0, held=CONNECTIONS):
            killed = signal_worker(container, "KILL")
        assert signal_worker(container, "CONT") != killed
        assert stack.container("app").restart_count == 0
