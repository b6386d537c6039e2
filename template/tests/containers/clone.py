"""A clone with a history of its own, to build, push and deploy commits from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from python_on_whales import DockerClient

from tests.sockets import unused_port
from tests.stack.images import names_in
from tests.stack.registry import Registry, stop_stage
from tests.stack.source import own_name, run

IDENTITY = ("-c", "user.name=Some One", "-c", "user.email=someone@example.com")
NAME = "some-one/links"


@dataclass
class Clone:
    folder: Path
    registry: Registry
    app_image: str = field(default_factory=own_name)
    stage_port: int = field(default_factory=unused_port)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "REGISTRY": self.registry.host,
            "REPOSITORY": NAME,
            "APP_IMAGE": self.app_image,
            "STAGE_PORT": str(self.stage_port),
        }

    def git(self, *words: str) -> str:
        return run(["git", *IDENTITY, *words], cwd=self.folder).strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "Go on")
        return self.git("rev-parse", "HEAD")

    def script(self, name: str, *words: str, check: bool = True, **variables: str) -> str:
        environment = {**self.environment, **variables}
        return run([f"deploy/{name}", *words], cwd=self.folder, env=environment, check=check)

    def stage(self) -> str:
        """Build this commit, and return its name in the registry on 127.0.0.1."""
        self.script("build", "--quiet")
        head = self.git("rev-parse", "HEAD")
        return self.script("pipeline/stage", f"{self.app_image}:{head}").splitlines()[-1]

    def push(self, *staged: str) -> str:
        """Push this commit, or what was staged, and return the digest."""
        return self.script("pipeline/push", *staged).splitlines()[-1]

    def promote(self, source: str, *tags: str, check: bool = True) -> str:
        return self.script("pipeline/promote", source, *tags, check=check)

    def tags(self) -> dict[str, str]:
        return self.registry.tags(NAME)


@contextmanager
def clone_in(docker: DockerClient, folder: Path, registry: Registry) -> Iterator[Clone]:
    """Make a repository of a folder; what it leaves in the Engine is removed at the end."""
    clone = Clone(folder, registry)
    clone.git("init", "--quiet", "--initial-branch=main")
    clone.commit()
    try:
        yield clone
    finally:
        stop_stage(clone.stage_port)
        repositories = clone.app_image, f"{registry.host}/{NAME}"
        mine = [name for repository in repositories for name in names_in(docker, repository)]
        docker.image.remove(mine, force=True)
