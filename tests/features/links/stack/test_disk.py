"""Disks that are full: the service says so, goes on where it can, and miscounts no click."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from python_on_whales import Container

from tests.polling import until
from tests.stack.images import ONE, Images
from tests.stack.source import copy_of_repository
from tests.stack.stack import Stack, execute, production

CLICKS = 12

# Disks in memory, which can be full without this machine's being so. 999 is who writes there.
SMALL = """\
volumes:
  db: { driver_opts: { type: tmpfs, device: tmpfs, o: "size=160m,uid=999,gid=999" } }
  redis: { driver_opts: { type: tmpfs, device: tmpfs, o: "size=24m,uid=999,gid=1000" } }
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def small(
    source: Path, images: Images, stacks: list[Stack], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("small")
    own = copy_of_repository(folder / "source", source)
    (own / "small.yaml").write_text(SMALL)
    with production(own, folder / "stack", images.repository, ONE) as stack:
        stack.files = (*stack.files, "small.yaml")
        stacks.append(stack)
        stack.up()
        yield stack
        stacks.remove(stack)


@pytest.fixture(scope="module")
def holder(small: Stack) -> Iterator[Container]:
    """Keep both disks: what is in memory only is gone when its last container stops."""
    container = small.docker.run(
        small.container("redis").config.image or "",
        ["sleep", "infinity"],
        entrypoint="",
        detach=True,
        init=True,
        volumes=[(f"{small.name}_{name}", f"/{name}") for name in ("db", "redis")],
    )
    yield container
    container.remove(force=True)


@pytest.fixture(scope="module")
def api(small: Stack) -> Iterator[httpx.Client]:
    token = small.make_token("links:read", "links:write")
    with small.client(Authorization=f"Bearer {token}") as client:
        yield client


@contextmanager
def full(holder: Container, disk: str) -> Iterator[None]:
    execute(holder, "sh", "-c", f"dd if=/dev/zero of=/{disk}/filler bs=4k 2>/dev/null; true")
    try:
        yield
    finally:
        execute(holder, "rm", f"/{disk}/filler")


def click(api: httpx.Client) -> str:
    """Make a link, and follow it CLICKS times; return its slug."""
    slug = f"followed-{token_hex(3)}"
    assert api.post("/api/v1/links", json={"url": "https://example.com/", "slug": slug}).is_success
    for _ in range(CLICKS):
        assert api.get(f"/{slug}").status_code == 302
    return slug


def counted(api: httpx.Client, slug: str, clicks: int) -> Callable[[], bool]:
    return lambda: api.get(f"/api/v1/links/{slug}/clicks").json()["total"] == clicks


class TestFullRedis:
    """Redis stops, since it can't keep what it would acknowledge. Clicks go to Postgres."""

    def test_no_click_is_lost(self, small: Stack, holder: Container, api: httpx.Client) -> None:
        with full(holder, "redis"):
            first = click(api)
            until(lambda: api.get("/health").status_code == 503)
            second = click(api)
            assert api.get("/health/ready").status_code == 200
        until(lambda: api.get("/health").status_code == 200)
        assert small.container("redis").restart_count
        # What was on its way when Redis stopped is settled fifteen seconds later.
        for slug in (first, second):
            until(counted(api, slug, CLICKS))


class TestFullPostgres:
    """Cached redirects go on, writes answer 503, and neither needs a restart to come back."""

    def test_writes_wait(self, small: Stack, holder: Container, api: httpx.Client) -> None:
        slug = click(api)
        before = small.starts()

        def write() -> int:
            body = {"url": f"https://example.com/{'x' * 1500}"}
            return api.post("/api/v1/links", json=body).status_code

        with full(holder, "db"):
            until(lambda: write() == 503, every=0.0)
            problem = api.post("/api/v1/links", json={"url": f"https://example.com/{'x' * 1500}"})
            assert problem.json()["code"] == "dependency_unavailable"
            assert api.get(f"/{slug}").status_code == 302
        until(lambda: write() == 201)
        until(counted(api, slug, CLICKS + 1))
        assert small.starts() == before
