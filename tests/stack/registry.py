"""A registry on 127.0.0.1, and what its clients see."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from python_on_whales import DockerClient

from tests.polling import until
from tests.sockets import unused_port
from tests.stack.source import ROOT, own_name, run

KINDS = ("oci.image.index.v1", "oci.image.manifest.v1")
OLDER_KINDS = ("docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2")
MANIFESTS = ", ".join(f"application/vnd.{kind}+json" for kind in (*KINDS, *OLDER_KINDS))


@dataclass
class Registry:
    docker: DockerClient
    name: str
    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody answers on the registry's port during the block."""
        self.docker.container.stop(self.name, time=1)
        try:
            yield
        finally:
            self.docker.container.start(self.name)
            until(lambda: self.ask("").status_code == 200)

    def ask(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.host}/v2/{path}", headers={"Accept": MANIFESTS})

    def repositories(self) -> list[str]:
        names: list[str] = self.ask("_catalog").json()["repositories"]
        return names

    def tags(self, name: str) -> dict[str, str]:
        """Return every tag of a repository, and the digest that it names."""
        tags = self.ask(f"{name}/tags/list").json().get("tags") or []
        return {tag: self.digest(name, tag) for tag in tags}

    def digest(self, name: str, reference: str) -> str:
        return self.ask(f"{name}/manifests/{reference}").headers["Docker-Content-Digest"]

    def tag(self, name: str, digest: str, tag: str) -> None:
        """Give an image one more tag, as somebody does who may push."""
        found = self.ask(f"{name}/manifests/{digest}")
        kind = {"Content-Type": found.headers["Content-Type"]}
        url = f"http://{self.host}/v2/{name}/manifests/{tag}"
        httpx.put(url, content=found.content, headers=kind).raise_for_status()

    def holds(self, name: str, digest: str) -> bool:
        return self.ask(f"{name}/manifests/{digest}").status_code == 200


@contextmanager
def running_registry(docker: DockerClient) -> Iterator[Registry]:
    registry = Registry(docker, own_name(), unused_port())
    docker.run(
        "registry:2",
        detach=True,
        name=registry.name,
        publish=[(f"127.0.0.1:{registry.port}", 5000)],
    )
    try:
        until(lambda: registry.ask("").status_code == 200)
        yield registry
    finally:
        docker.container.remove(registry.name, force=True, volumes=True)


def pulled_digest(docker: DockerClient, image: str) -> str:
    """Pull an image as a deploy does; return the digest that Docker reports."""
    docker.pull(image, quiet=True)
    words = "{{range .RepoDigests}}{{println .}}{{end}}"
    found = run(["docker", "inspect", "--format", words, image], cwd=ROOT).split()
    repository = image.rpartition(":")[0]
    [digest] = {name.partition("@")[2] for name in found if name.startswith(f"{repository}@")}
    return digest


def stop_stage(port: int) -> None:
    """Remove the registry that deploy/pipeline/stage of any copy started at a port."""
    found = run(["docker", "ps", "--quiet", "--filter", f"publish={port}"], cwd=ROOT).split()
    if found:
        run(["docker", "rm", "--force", "--volumes", *found], cwd=ROOT)
