"""Two commits become two images, are deployed and rolled back. /health reports the version."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from template.tests.containers.clone import NAME, Clone, clone_in
from tests.stack.registry import running_registry
from tests.stack.source import copy_of_repository, run
from tests.stack.stack import Stack, production

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture
def clone(docker: DockerClient, source: Path, tmp_path: Path) -> Iterator[Clone]:
    folder = copy_of_repository(tmp_path / "clone", source)
    with running_registry(docker) as registry, clone_in(docker, folder, registry) as clone:
        yield clone


def version(stack: Stack) -> str:
    with stack.client() as client:
        answer = client.get("/health")
    assert answer.status_code == 200
    return str(answer.json()["version"])


def published(clone: Clone) -> str:
    commit = clone.commit()
    clone.promote(clone.push(), commit, commit[:12], "latest")
    return commit


class TestTwoCommits:
    """Deploy the first, then the second, then go back."""

    def test_the_version_follows(
        self, clone: Clone, docker: DockerClient, stacks: list[Stack], tmp_path: Path
    ) -> None:
        first, second = published(clone), published(clone)
        repository = f"{clone.registry.host}/{NAME}"
        with production(clone.folder, tmp_path / "stack", repository, first) as stack:
            stacks.append(stack)
            docker.pull(f"{repository}:{first}", quiet=True)
            stack.up()
            assert version(stack) == first
            started = [line for line in stack.logs().splitlines() if '"started"' in line]
            assert started
            assert all(first in line for line in started)
            # The host pulled it from the registry, and built nothing.
            stack.script("release", second)
            assert version(stack) == second
            make = ["make", "rollback"]
            run(make, cwd=stack.source, env={**stack.environment, "TAG": second})
            assert version(stack) == first
            stacks.remove(stack)
