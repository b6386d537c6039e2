"""A node that loses its network, and more and fewer pods as the load on the CPU demands.

NODE_SHELL runs a command on a node, whose name replaces {}: with kind, NODE_SHELL="docker exec {}".
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.features.links.kubernetes.traffic import SECONDS, loaded
from tests.kubernetes.cluster import ONE, Cluster
from tests.polling import PATIENCE, until
from tests.stack.load import CONNECTIONS

CUT = "iptables -t raw {0} PREROUTING -i eth0 -j DROP && iptables -t raw {0} OUTPUT -o eth0 -j DROP"
BURN = """
import os
os.nice(19)
open('/tmp/burn', 'w').close()
while os.path.exists('/tmp/burn'): pass
"""

pytestmark = [
    pytest.mark.skipif("CHANGED_CLUSTER" not in os.environ, reason="make test-kubernetes runs it"),
    pytest.mark.timeout(1200 + SECONDS),
]


def goes_on(cluster: Cluster, apart_from: str) -> None:
    """Each of 40 new connections is answered, and none by the pod that is cut off."""
    for _ in range(40):
        url = f"{cluster.address(apart_from=apart_from)}/health/live"
        assert httpx.get(url, headers={"Host": "localhost"}, timeout=20).status_code == 200


def endpoints(cluster: Cluster) -> list[str]:
    return cluster.kubectl("get", "endpoints", "app", "-o=jsonpath={..addresses[*].ip}").split()


@contextmanager
def burning(cluster: Cluster) -> Iterator[None]:
    """Burn the time of the CPU that nobody else wants, in each pod, new ones too."""
    started: dict[str, subprocess.Popen[bytes]] = {}

    def full() -> bool:
        for pod in cluster.pods("app"):
            name = pod["metadata"]["name"]
            if name not in started and pod["status"]["phase"] == "Running":
                words = ["kubectl", "-n", "drydock", "exec", name, "--", "python", "-c", BURN]
                started[name] = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        return cluster.is_ready("app", 6)

    try:
        until(full, within=5 * PATIENCE, every=2)
        yield
    finally:
        for name, process in started.items():
            cluster.kubectl("exec", name, "--", "rm", "-f", "/tmp/burn", check=False)
            process.wait(60)


@pytest.mark.skipif("NODE_SHELL" not in os.environ, reason="NODE_SHELL says how to reach a node")
def test_a_node_loses_its_network(
    cluster: Cluster, api: httpx.Client, slugs: list[str], free_node: str
) -> None:
    """Until Kubernetes notices (40 s by default), the requests that go there wait in vain."""
    (pod,) = [p for p in cluster.pods("app") if p["spec"]["nodeName"] == free_node]
    address = pod["status"]["podIP"]
    with loaded(cluster, api, slugs, held=3 * CONNECTIONS, apart_from=free_node):
        cluster.on_node(free_node, CUT.format("-I"))
        try:
            until(lambda: address not in endpoints(cluster), within=3 * PATIENCE, every=1)
            time.sleep(2)  # until each node has the new list
            goes_on(cluster, free_node)
        finally:
            cluster.on_node(free_node, CUT.format("-D"))
        until(lambda: address in endpoints(cluster), within=3 * PATIENCE, every=1)


def test_more_pods_and_fewer(cluster: Cluster, api: httpx.Client, slugs: list[str]) -> None:
    """From two to six and back. Only the way down is faster here than in the manifests."""
    if not cluster.kubectl("get", "--raw=/apis/metrics.k8s.io/v1beta1/nodes", check=False):
        pytest.skip("the cluster measures no CPU: install metrics-server")
    policies = [{"type": "Pods", "value": 1, "periodSeconds": 15}]
    cluster.scale(2, scaleDown={"stabilizationWindowSeconds": 15, "policies": policies})
    try:
        with loaded(cluster, api, slugs):
            with burning(cluster):
                pass
            until(lambda: len(cluster.pods("app")) == 2, within=10 * PATIENCE, every=2)
    finally:
        cluster.release("deploy", TAG=ONE)
