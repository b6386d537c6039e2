"""push and promote against a real registry: digests first, tags last, and nothing twice.

The image is a small one. Other tests check the content of the real image.
"""

import json
import shutil
from collections.abc import Iterator
from functools import partial

import pytest
from python_on_whales import DockerClient

from template.tests.containers.away import registry_that_says
from template.tests.containers.clone import NAME, Clone, clone_in
from tests.stack.registry import Registry, pulled_digest, running_registry
from tests.stack.source import ROOT, run

DOCKERFILE = """FROM scratch
COPY content /content
ARG GIT_SHA
LABEL org.opencontainers.image.revision="${GIT_SHA}"
CMD ["/content"]
"""


@pytest.fixture(scope="module")
def registry(docker: DockerClient) -> Iterator[Registry]:
    with running_registry(docker) as registry:
        yield registry


@pytest.fixture(scope="module")
def clone(
    docker: DockerClient, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clone]:
    folder = tmp_path_factory.mktemp("publish")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    shutil.copy(ROOT / ".gitignore", folder)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "content").write_text("one\n")
    with clone_in(docker, folder, registry) as clone:
        yield clone


class TestPush:
    """A commit's image arrives by digest; no tag names it."""

    def test_without_a_tag(self, clone: Clone, registry: Registry) -> None:
        digest = clone.push()
        assert registry.holds(NAME, digest)
        assert clone.tags() == {}

    def test_again_is_the_same(self, clone: Clone) -> None:
        assert clone.push() == clone.push()
        assert clone.tags() == {}

    def test_it_names_its_repository(self, clone: Clone) -> None:
        clone.git("remote", "add", "origin", "https://me:secret@example.com/some-one/links.git")
        commit = clone.commit()
        clone.script("build", "--quiet", GITHUB_REPOSITORY="")
        clone.git("remote", "remove", "origin")
        words = '{{index .Config.Labels "org.opencontainers.image.source"}}'
        command = ["docker", "inspect", "--format", words, f"{clone.app_image}:{commit}"]
        assert run(command, cwd=ROOT).strip() == "https://example.com/some-one/links"

    def test_a_dirty_tree_is_refused(self, clone: Clone) -> None:
        extra = clone.folder / "new-file"
        extra.touch()
        try:
            with pytest.raises(AssertionError, match="The tree differs from its commit"):
                clone.push()
            built = clone.script("build", "--quiet").strip()
            commit = clone.git("rev-parse", "HEAD")
            words = [
                "docker",
                "inspect",
                "--format",
                "{{.Id}}",
                f"{clone.app_image}:{commit}-dirty",
            ]
            assert run(words, cwd=ROOT).strip() == built
        finally:
            extra.unlink()
        # The tree is clean again, but the image was built while it was dirty.
        staged = clone.script("pipeline/stage", f"{clone.app_image}:{commit}-dirty")
        with pytest.raises(AssertionError, match=f"was built from {commit}-dirty"):
            clone.push(staged.splitlines()[-1])


class TestPromote:
    """A tag names a pushed digest and never moves. Only latest moves, and only forward."""

    def test_one_digest(self, clone: Clone, docker: DockerClient) -> None:
        commit = clone.git("rev-parse", "HEAD")
        digest = clone.push()
        clone.promote(digest, commit, commit[:12])
        clone.promote(commit, "latest")
        assert clone.tags() == dict.fromkeys((commit, commit[:12], "latest"), digest)
        repository = f"{clone.registry.host}/{NAME}"
        assert {pulled_digest(docker, f"{repository}:{tag}") for tag in clone.tags()} == {digest}

    def test_again_changes_nothing(self, clone: Clone) -> None:
        commit, before = clone.git("rev-parse", "HEAD"), clone.tags()
        said = clone.promote(clone.push(), commit, commit[:12], "latest", check=False)
        assert said.count(" already") == 3
        assert clone.tags() == before

    def test_a_tag_never_means_another_image(self, clone: Clone) -> None:
        before, first = clone.tags(), clone.git("rev-parse", "HEAD")
        (clone.folder / "content").write_text("two\n")
        clone.commit()
        digest = clone.push()
        assert digest not in before.values()
        with pytest.raises(AssertionError, match="a tag means one image"):
            clone.promote(digest, first)
        assert clone.tags() == before

    def test_latest_does_not_go_back(self, clone: Clone) -> None:
        second, old = clone.push(), clone.tags()["latest"]
        clone.promote(second, "latest")
        assert clone.tags()["latest"] == second
        said = clone.promote(old, "latest", check=False)
        assert "of a later commit. It was not moved" in said
        assert clone.tags()["latest"] == second

    def test_a_commit_that_has_not_passed(self, clone: Clone) -> None:
        before = clone.tags()
        with pytest.raises(AssertionError, match="pipeline of that commit has not finished"):
            clone.promote(clone.commit(), "v1.0.0")
        assert clone.tags() == before


@pytest.mark.parametrize("status", [0, 401, 403, 429, 500, 503])
class TestRegistryInTrouble:
    """A registry that does not answer properly is an error everywhere, and never looks empty."""

    @pytest.mark.parametrize(
        "command", [("rescan", "latest"), ("promote", "latest", "v1.0.0"), ("push",)]
    )
    def test_each_script(self, clone: Clone, status: int, command: tuple[str, ...]) -> None:
        name, *words = command
        staged = [clone.stage()] if name == "push" else []
        with registry_that_says(status) as registry:
            run_it = partial(clone.script, f"pipeline/{name}", *words, *staged, REGISTRY=registry)
            with pytest.raises(AssertionError, match=rf"answered [1-9](?s:.*){registry}"):
                run_it()
        assert not (clone.folder / ".pipeline/findings").exists()


class TestTampering:
    """The registry's folder passes through other jobs. Other bytes under a digest are refused."""

    def test_a_changed_layer(self, clone: Clone) -> None:
        before = clone.tags()
        clone.commit()
        (clone.folder / "content").write_text("three\n")
        clone.commit()
        staged = clone.stage()
        clone.script("pipeline/stage", "--stop")
        manifest = staged.rpartition(":")[2]
        blobs = clone.folder / ".pipeline/registry/docker/registry/v2/blobs/sha256"
        own = blobs / manifest[:2] / manifest / "data"
        layer = json.loads(own.read_text())["layers"][0]["digest"].removeprefix("sha256:")
        content = blobs / layer[:2] / layer / "data"
        original = content.read_bytes()
        content.write_bytes(original[:-1] + b"!")
        again = clone.script("pipeline/stage", "--start", f"sha256:{manifest}").strip()
        assert again == staged
        with pytest.raises(AssertionError, match="digest did not match"):
            clone.push(again)
        content.write_bytes(original)
        assert clone.tags() == before


class TestArchitectures:
    """Several images become one index of just those digests."""

    def test_two(self, clone: Clone, registry: Registry) -> None:
        commit = clone.commit()
        staged: dict[str, str] = {}
        for architecture in ("amd64", "arm64"):
            clone.script("build", "--quiet", "--platform", f"linux/{architecture}")
            said = clone.script("pipeline/stage", f"{clone.app_image}:{commit}")
            staged[architecture] = said.splitlines()[-1]
        before = clone.tags()
        digest = clone.push(*staged.values())
        assert clone.tags() == before
        index = registry.ask(f"{NAME}/manifests/{digest}").json()
        assert {
            entry["platform"]["architecture"]: entry["digest"] for entry in index["manifests"]
        } == {architecture: name.partition("@")[2] for architecture, name in staged.items()}
        clone.promote(digest, commit, "latest")
        assert clone.tags()[commit] == clone.tags()["latest"] == digest
