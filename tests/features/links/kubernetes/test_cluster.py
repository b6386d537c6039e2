"""In a cluster, nothing that an operator does loses a redirect, and a crash only what it held.

They run against the cluster of KUBECONFIG: `make test-kubernetes`. CLUSTER_SECONDS is how long each
load lasts, 60 by default.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

import httpx
import pytest

from tests.kubernetes.cluster import ONE, TWO, Cluster, deployed
from tests.polling import PATIENCE, until
from tests.stack.load import under_load

SECONDS = float(os.environ.get("CLUSTER_SECONDS", "60"))
RATE = 100  # requests a second
POST_EVERY = 20  # one of so many makes a link
LINKS = "/api/v1/links"
GONE = 20.0  # seconds without Postgres
BROKEN = {"name": "app", "command": ["sleep", "600"]}  # it never answers

pytestmark = [
    # Not KUBECONFIG alone: a shell may have that for a cluster of production.
    pytest.mark.skipif("CHANGED_CLUSTER" not in os.environ, reason="make test-kubernetes runs it"),
    pytest.mark.timeout(600 + SECONDS),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with deployed(tmp_path_factory.mktemp("kubectl")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    with cluster.client() as client:
        yield client


@pytest.fixture(scope="module")
def slugs(api: httpx.Client) -> list[str]:
    made = [f"loaded-{token_hex(3)}" for _ in range(20)]
    for slug in made:
        answer = api.post(LINKS, json={"url": "https://example.com/", "slug": slug})
        assert answer.status_code == 201, answer.text
    return made


@pytest.fixture(autouse=True)
def settled(cluster: Cluster) -> None:
    """Each test begins with version ONE and two pods."""
    if cluster.tags() != {ONE}:
        cluster.release("deploy", TAG=ONE)
    until(lambda: cluster.is_ready("app", 2) and cluster.is_ready("worker", 1), within=2 * PATIENCE)


@contextmanager
def loaded(
    cluster: Cluster,
    api: httpx.Client,
    slugs: list[str],
    *,
    held: int = 0,
    refused: bool = False,
    apart_from: str = "",
) -> Iterator[None]:
    """Load the service during the block. Each redirect was answered, and counted once.

    At most `held` requests were lost with a process that was killed: they may have been counted.
    `refused`: requests that need Postgres may hear 503 meanwhile.
    """

    def build(client: httpx.AsyncClient, number: int) -> httpx.Request:
        if number % POST_EVERY == 0:
            made = {"url": "https://example.com/made"}
            return client.build_request("POST", LINKS, headers=api.headers, json=made)
        slug = slugs[number % len(slugs)]
        return client.build_request("GET", f"/{slug}", headers={"Host": "localhost"})

    before = clicks(api, slugs)
    url = cluster.address(apart_from=apart_from)
    with under_load(url, build, rate=RATE, seconds=SECONDS) as outcome:
        yield
    print(f"\n{outcome}; {dict(outcome.statuses)}; {outcome.lost[:3]}")  # noqa: T201 -- the figures
    assert len(outcome.lost) <= held, outcome.lost
    wrong = [fault for fault in outcome.wrong if not (refused and ": 503 (" in fault)]
    assert len(wrong) <= held, wrong
    redirects = outcome.statuses[302]
    until(lambda: clicks(api, slugs) - before >= redirects, every=0.5)
    assert 0 <= clicks(api, slugs) - before - redirects <= held


def clicks(api: httpx.Client, slugs: list[str]) -> int:
    return sum(api.get(f"{LINKS}/{slug}/clicks").json()["total"] for slug in slugs)


class TestOperator:
    """A deploy, a rollback, a broken version and the drain of a node lose nothing."""

    def test_a_new_version_and_back(
        self, cluster: Cluster, api: httpx.Client, slugs: list[str]
    ) -> None:
        with loaded(cluster, api, slugs):
            cluster.release("deploy", TAG=TWO)
            assert cluster.tags() == {TWO}
        with loaded(cluster, api, slugs):
            cluster.release("rollback")
            assert cluster.tags() == {ONE}

    def test_a_version_that_does_not_become_ready(
        self, cluster: Cluster, api: httpx.Client, slugs: list[str]
    ) -> None:
        """There is no such image, so already the migration does not start."""
        with loaded(cluster, api, slugs):
            said = cluster.release("deploy", TAG="nowhere", DEPLOY_TIMEOUT="10", fails=True)
            assert "app and worker stay as they are" in said
            assert cluster.tags() == {ONE}

    def test_pods_that_do_not_become_ready(
        self, cluster: Cluster, api: httpx.Client, slugs: list[str]
    ) -> None:
        image = {"spec": {"template": {"spec": {"containers": [BROKEN]}}}}
        with loaded(cluster, api, slugs):
            cluster.kubectl("patch", "deployment", "app", f"--patch={json.dumps(image)}")
            watch = ("rollout", "status", "deployment/app", "--timeout=20s")
            assert "successfully" not in cluster.kubectl(*watch, check=False)
            cluster.kubectl("rollout", "undo", "deployment/app")
            until(lambda: cluster.tags() == {ONE}, within=2 * PATIENCE)

    def test_the_drain_of_a_node(
        self, cluster: Cluster, api: httpx.Client, slugs: list[str]
    ) -> None:
        stores = {p["spec"]["nodeName"] for c in ("postgres", "redis") for p in cluster.pods(c)}
        nodes = {pod["spec"]["nodeName"] for pod in cluster.pods("app")} - stores
        if not nodes:
            pytest.skip("each node with the app has a store too, which can't move here")
        node = nodes.pop()
        with loaded(cluster, api, slugs, apart_from=node):
            try:
                cluster.kubectl(
                    "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s"
                )
                until(lambda: cluster.is_ready("app", 2), within=2 * PATIENCE)
            finally:
                cluster.kubectl("uncordon", node)


class TestFault:
    """A process that is killed takes with it what it held. Without Postgres, redirects go on."""

    def test_a_pod_is_killed(self, cluster: Cluster, api: httpx.Client, slugs: list[str]) -> None:
        pod = cluster.pods("app")[0]["metadata"]["name"]
        kill = "import os, signal; os.kill(7, signal.SIGKILL)"
        with loaded(cluster, api, slugs, held=40):
            cluster.kubectl("exec", pod, "--", "python", "-c", kill, check=False)
            cluster.kubectl("delete", "pod", pod, "--grace-period=0", "--force", check=False)
            until(lambda: cluster.is_ready("app", 2), within=2 * PATIENCE)

    def test_postgres_is_gone(self, cluster: Cluster, api: httpx.Client, slugs: list[str]) -> None:
        before = {pod["metadata"]["name"] for pod in cluster.pods("app")}
        with loaded(cluster, api, slugs, refused=True):
            cluster.kubectl("scale", "statefulset/postgres", "--replicas=0")
            time.sleep(GONE)
            cluster.kubectl("scale", "statefulset/postgres", "--replicas=1")
            until(lambda: cluster.is_ready("postgres", 1), within=2 * PATIENCE)
        assert {pod["metadata"]["name"] for pod in cluster.pods("app")} == before
