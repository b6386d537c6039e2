"""The service in the cluster of KUBECONFIG, and links in it."""

from collections.abc import Iterator
from secrets import token_hex

import httpx
import pytest

from tests.features.links.kubernetes.traffic import LINKS
from tests.kubernetes.cluster import ONE, Cluster, deployed
from tests.polling import PATIENCE, until


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with deployed(tmp_path_factory.mktemp("kubectl")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    with cluster.client() as client:
        yield client


@pytest.fixture(scope="session")
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


@pytest.fixture
def free_node(cluster: Cluster) -> Iterator[str]:
    """A node with a pod of the app, and without a store, which can't move everywhere."""
    cluster.scale(3)
    try:
        until(lambda: cluster.is_ready("app", 3), within=2 * PATIENCE)
        stores = {p["spec"]["nodeName"] for c in ("postgres", "redis") for p in cluster.pods(c)}
        nodes = {pod["spec"]["nodeName"] for pod in cluster.pods("app")} - stores
        if not nodes:
            pytest.skip("each node with the app has a store too: add a node")
        yield nodes.pop()
    finally:
        cluster.scale(2)
