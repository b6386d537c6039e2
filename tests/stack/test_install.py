"""A host on which nothing runs yet, and images of a registry: `make deploy` and `make prod`."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from tests.stack.images import BROKEN, NEWER, ONE, TWO, Images, names_in
from tests.stack.registry import Registry, running_registry
from tests.stack.source import run, time_of_commit
from tests.stack.stack import Stack, production

pytestmark = pytest.mark.timeout(300)

NAME = "some-one/links"


@dataclass
class Host:
    """A production stack that gets its images from a registry of its own."""

    docker: DockerClient
    images: Images
    registry: Registry
    stack: Stack

    @property
    def repository(self) -> str:
        return f"{self.registry.host}/{NAME}"

    def publish(self, image: str, tag: str) -> str:
        """Push one of the images under a tag, leave nothing of it here, and return its digest."""
        name = f"{self.repository}:{tag}"
        self.docker.image.tag(self.images.name(image), name)
        self.docker.image.push(name, quiet=True)
        self.docker.image.remove(name, force=True)
        return self.registry.digest(NAME, tag)

    def make(self, *words: str, **variables: str) -> str:
        environment = {**self.stack.environment, **variables}
        return run(["make", *words], cwd=self.stack.source, env=environment)

    def deploy(self, tag: str, **variables: str) -> str:
        return self.make("deploy", f"TAG={tag}", **variables)

    def runs(self) -> set[str]:
        """Return the names of the images that the service runs."""
        containers = [self.stack.container(name) for name in ("app", "worker")]
        return {str(container.config.image) for container in containers}

    @contextmanager
    def another_service(self) -> Iterator[str]:
        """Run a service of a compose file that only this host has. Give its container's name."""
        name = f"{self.stack.name}-extra"
        service = {"image": self.images.name(ONE), "entrypoint": ["sleep", "600"]}
        file = self.stack.folder / "compose.extra.yaml"
        file.write_text(json.dumps({"services": {"extra": {**service, "container_name": name}}}))
        docker = DockerClient(
            compose_files=[file],
            compose_project_name=self.stack.name,
            compose_project_directory=self.stack.source,
        )
        docker.compose.up(["extra"], detach=True, quiet=True)
        yield name
        docker.container.remove(name, force=True)

    def empty(self) -> None:
        self.stack.docker.compose.down(volumes=True, timeout=1, quiet=True)
        shutil.rmtree(self.stack.source / "secrets", ignore_errors=True)
        (self.stack.source / ".deployed").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def host(
    docker: DockerClient,
    source: Path,
    images: Images,
    stacks: list[Stack],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host") / "stack"
    with running_registry(docker) as registry:
        with production(source, folder, f"{registry.host}/{NAME}", "") as stack:
            stacks.append(stack)
            host = Host(docker, images, registry, stack)
            yield host
            stacks.remove(stack)
        docker.image.remove(names_in(docker, host.repository), force=True)


@pytest.mark.usefixtures("newer_image")
class TestRegistry:
    """A published image is the first to run, and each version is one digest for ever."""

    def test_from_an_empty_host_to_a_rollback(self, host: Host) -> None:
        host.empty()
        first, second = host.publish(ONE, "v1"), host.publish(TWO, "v2")
        host.deploy("v1")
        assert host.runs() == {f"{host.repository}:v1@{first}"}
        assert host.stack.versions() == {host.images.version(ONE)}
        with pytest.raises(AssertionError, match="There is no version before this one"):
            host.make("rollback")

        # What this host has under the name of v2 does not count.
        host.docker.image.tag(host.images.name(ONE), f"{host.repository}:v2")
        with host.another_service() as name:
            host.deploy("v2")
            assert host.docker.container.inspect(name).state.running
        assert host.runs() == {f"{host.repository}:v2@{second}"}
        assert host.stack.versions() == {host.images.version(TWO)}

        # The tag moves. Then the registry is away.
        assert host.publish(NEWER, "v1") != first
        with host.registry.away():
            with pytest.raises(AssertionError, match=r"v3 can't be pulled: (.|\n)*\(v2\) stays"):
                host.deploy("v3")
            host.make("rollback")
        assert host.runs() == {f"{host.repository}:v1@{first}"}
        assert host.stack.versions() == {host.images.version(ONE)}


@pytest.mark.usefixtures("newer_image")
class TestMigration:
    """A deploy with a migration makes a backup before it, and can be rolled back."""

    def test_there_and_back(self, host: Host) -> None:
        host.empty()
        host.publish(ONE, "one-migration-less")
        host.publish(NEWER, "newer")
        backups = host.stack.source / "backups"
        shutil.rmtree(backups, ignore_errors=True)
        host.deploy("one-migration-less")
        host.deploy("newer")
        # The first is from before the first migration, since this host might have had data.
        made = sorted(backups.iterdir())
        assert [file.read_bytes()[:5] for file in made] == [b"PGDMP", b"PGDMP"]
        host.make("rollback")
        assert host.stack.versions() == {host.images.version(ONE)}
        with host.stack.client() as client:
            ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        # Neither the rollback nor the version that comes back lacks a migration.
        host.make("rollback")
        assert host.stack.versions() == {host.images.version(NEWER)}
        assert sorted(backups.iterdir()) == made
        shutil.rmtree(backups)


class TestSignature:
    """With SIGNED_BY, an image runs only if the pipeline of that repository has signed it."""

    @pytest.fixture(autouse=True)
    def programs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Fakes for cosign and gh, which need GitHub. cosign fails while REFUSE is set."""
        for name in ("cosign", "gh"):
            program = tmp_path / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n${{REFUSE:-:}}\n')
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path

    def test_it_decides(self, host: Host, programs: Path) -> None:
        host.empty()
        digest, calls = host.publish(TWO, "signed"), programs / "calls"
        with pytest.raises(AssertionError, match=r"not the repository of (.|\n)*not verified"):
            host.deploy("signed", SIGNED_BY="Else/Where")
        assert not calls.exists()
        with pytest.raises(AssertionError, match="is not verified"):
            host.deploy("signed", SIGNED_BY="Some-One/Links", REFUSE="false")
        [asked] = calls.read_text().splitlines()
        assert asked.startswith("cosign ")
        assert asked.endswith(f"{host.repository}@{digest}")
        assert host.stack.containers("app", every=True) == []
        host.deploy("signed", SIGNED_BY="Some-One/Links")
        assert host.runs() == {f"{host.repository}:signed@{digest}"}
        assert "--repo Some-One/Links" in calls.read_text()


@pytest.mark.long
class TestBuiltHere:
    """`make prod` builds this folder, as its commit, and is the first start and each next one."""

    def prod(self, host: Host, version: str) -> str:
        built = {"GIT_SHA": version, "SOURCE_DATE_EPOCH": time_of_commit()}
        return host.make("prod", "TAG=here", APP_IMAGE=host.images.repository, **built)

    def test_the_next_build_of_a_tag_is_another_version(self, host: Host) -> None:
        host.empty()
        for version in ("sha-first", "sha-second", "sha-third"):
            self.prod(host, version)
            assert host.stack.versions() == {version}
        assert host.stack.deployed() == ["here", "here"]
        # Older images have no name any more.
        found = host.docker.image.list(host.images.repository)
        names = [name for image in found for name in image.repo_tags]
        kept = [name for name in names if name.endswith(f"-{host.stack.name}")]
        assert sorted(kept) == sorted((host.stack.source / ".deployed").read_text().split())
        host.make("rollback", APP_IMAGE=host.images.repository)
        assert host.stack.versions() == {"sha-second"}

    def test_it_builds_no_image_of_a_registry(self, host: Host) -> None:
        with pytest.raises(AssertionError, match="belongs to a registry"):
            host.make("prod", "TAG=here")


@pytest.mark.long
@pytest.mark.usefixtures("faulty_images")
class TestFirstFails:
    """A first version that does not work leaves nothing that serves; the next one starts."""

    def test_the_next_one_starts(self, host: Host) -> None:
        host.empty()
        here = {"APP_IMAGE": host.images.repository}
        with pytest.raises(AssertionError, match="the engine room is flooded"):
            host.deploy(BROKEN, **here)
        assert host.stack.containers("app", every=True) == []
        host.deploy(ONE, **here)
        assert host.stack.versions() == {host.images.version(ONE)}
        assert host.stack.deployed() == [ONE]
