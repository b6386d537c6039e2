"""The service in the cluster that KUBECONFIG names, from the overlay `development`.

The nodes must have the images of Postgres and Redis,
and drydock:$ONE and drydock:$TWO.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.live import ROOT
from tests.polling import PATIENCE, until

ONE, TWO = os.environ.get("ONE", "one"), os.environ.get("TWO", "two")
# A cluster before 1.25 knows these objects by older versions of their API, with the same fields.
OLDER = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
# Named so, kubectl takes the version that the cluster has.
HPA = "horizontalpodautoscaler"
ENTRANCE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "entrance"},
    "spec": {
        "type": "NodePort",
        "selector": {"app.kubernetes.io/component": "app"},
        "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}],
    },
}


class Cluster:
    """`folder` holds a stand-in for kubectl if the cluster is old."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "OVERLAY": "development", "NAMESPACE": "drydock"}
        version = json.loads(self.kubectl("version", "--output=json"))["serverVersion"]
        if int(version["minor"].rstrip("+")) < 25:
            self.environment["PATH"] = f"{_older(folder)}:{os.environ['PATH']}"

    def kubectl(self, *words: str, given: str = "", check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", "--namespace=drydock", *words],
            env=self.environment,
            input=given,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def release(self, *words: str, fails: bool = False, **variables: str) -> str:
        done = subprocess.run(
            [str(ROOT / "deploy/kubernetes/release"), *words],
            env={**self.environment, **variables},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode != 0) is fails, done.stdout
        return done.stdout

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those that are not ending."""
        selector = f"--selector=app.kubernetes.io/component={component}"
        found = json.loads(self.kubectl("get", "pods", selector, "--output=json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def tags(self) -> set[str]:
        pods = [*self.pods("app"), *self.pods("worker")]
        return {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods}

    def is_ready(self, component: str, number: int) -> bool:
        ready = [
            pod
            for pod in self.pods(component)
            if {"type": "Ready", "status": "True"}.items()
            <= next(iter(_conditions(pod, "Ready")), {}).items()
        ]
        return len(ready) >= number

    def address(self, *, apart_from: str = "") -> str:
        """Where the service is reached from outside: a port of a node, any node."""
        nodes = json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]
        chosen = next(node for node in nodes if node["metadata"]["name"] != apart_from)
        (host,) = [a["address"] for a in chosen["status"]["addresses"] if a["type"] == "InternalIP"]
        entrance = json.loads(self.kubectl("get", "service", "entrance", "--output=json"))
        return f"http://{host}:{entrance['spec']['ports'][0]['nodePort']}"

    def scale(self, least: int, **behavior: Any) -> None:
        """Let the autoscaler keep so many pods at least, and maybe change how fast it acts."""
        change = {"spec": {"minReplicas": least, **({"behavior": behavior} if behavior else {})}}
        words = ("patch", HPA, "app", "--type=merge", f"--patch={json.dumps(change)}")
        self.kubectl(*words)

    def on_node(self, node: str, command: str) -> None:
        """Run a command on a node, as NODE_SHELL says: with kind, "docker exec {}"."""
        words = [*os.environ["NODE_SHELL"].replace("{}", node).split(), "sh", "-ec", command]
        subprocess.run(words, check=True, capture_output=True)

    def token(self) -> str:
        words = ("python", "-m", "app", "token", "create", "--name=tests", "--all-scopes")
        return self.kubectl("exec", "deployment/app", "--", *words).strip().splitlines()[-1]

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token()}", "Host": "localhost"}
        return httpx.Client(base_url=self.address(), headers=headers, timeout=20, trust_env=False)


def _conditions(pod: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    return (c for c in pod["status"].get("conditions", ()) if c["type"] == kind)


def _older(folder: Path) -> Path:
    """A kubectl whose `kustomize` renders older versions of the API."""
    real = shutil.which("kubectl")
    words = " ".join(f"-e 's|^apiVersion: {new}$|apiVersion: {old}|'" for new, old in OLDER.items())
    script = folder / "kubectl"
    kustomize = f'kustomize) "{real}" "$@" | sed {words} ;;'
    script.write_text(f'#!/bin/sh\ncase $1 in\n{kustomize}\n*) exec "{real}" "$@" ;;\nesac\n')
    script.chmod(0o755)
    return folder


@contextmanager
def deployed(folder: Path) -> Iterator[Cluster]:
    """The service in version ONE, reached through its entrance. It stays when the tests end."""
    cluster = Cluster(folder)
    cluster.release("deploy", TAG=ONE)
    cluster.kubectl("apply", "--filename=-", given=json.dumps(ENTRANCE))
    until(lambda: cluster.is_ready("app", 2), within=2 * PATIENCE)
    yield cluster
