"""In a cluster, nothing that an operator does loses a redirect, and a crash only what it held.

They run against the cluster of KUBECONFIG: `make test-kubernetes`.
"""

import json
import os
import time

import httpx
import pytest

from tests.features.links.kubernetes.traffic import SECONDS, loaded
from tests.kubernetes.cluster import ONE, TWO, Cluster
from tests.polling import PATIENCE, until

GONE = 20.0  # seconds without Postgres
BROKEN = {"name": "app", "command": ["sleep", "600"]}  # it never answers

pytestmark = [
    # Not KUBECONFIG alone: a shell may have that for a cluster of production.
    pytest.mark.skipif("CHANGED_CLUSTER" not in os.environ, reason="make test-kubernetes runs it"),
    pytest.mark.timeout(600 + SECONDS),
]


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
        self, cluster: Cluster, api: httpx.Client, slugs: list[str], free_node: str
    ) -> None:
        words = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")
        with loaded(cluster, api, slugs, apart_from=free_node):
            try:
                cluster.kubectl("drain", free_node, *words)
                until(lambda: cluster.is_ready("app", 2), within=2 * PATIENCE)
            finally:
                cluster.kubectl("uncordon", free_node)


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
