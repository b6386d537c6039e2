"""ci.yml publishes one digest for a commit, and only if every step passes.

Each run takes a minute or more: `make check-more`. With WORKFLOWS_WHOLE=1 the first one runs every
test, with WORKFLOWS_QUICK=1 only those of the containers.
"""

import json

import pytest
from python_on_whales import DockerClient

from template.tests.containers.trivy_database import Planted
from template.tests.workflows.conftest import Hub
from tests.stack.registry import pulled_digest

JOBS = ("plan", "check", "build", "containers", "scan", "code-scanning", "publish", "required")
GREEN = dict.fromkeys(JOBS, "success")

pytestmark = pytest.mark.timeout(900)

ONE_TEST = "def test_the_image(images):\n    assert images.version('one')\n"
# In two parts, so that scanners of this repository do not find it.
TOKEN = "ghp_" + "1bT9" * 9


def digest_under_test(hub: Hub) -> str:
    facts = json.loads((hub.folder / "artifacts/report-amd64/facts.json").read_text())
    return str(facts["digest"])


class TestMain:
    """A commit on main becomes one digest with three tags, and a second run changes nothing."""

    def test_from_commit_to_tags(self, hub: Hub, docker: DockerClient) -> None:
        commit = hub.clone.head
        run = hub.run()
        assert run.jobs == GREEN, run.output
        digest = digest_under_test(hub)
        assert hub.tags() == dict.fromkeys((commit, commit[:12], "latest"), digest)
        repository = f"{hub.registry.host}/{hub.name}"
        for tag in (commit, "latest"):
            assert pulled_digest(docker, f"{repository}:{tag}") == digest
        # It was signed and attested before a tag named it.
        assert hub.notes == [
            "upload 0 findings | tags: []",
            f"cosign sign --yes --recursive {repository}@{digest} | tags: []",
            f"attest {repository}@{digest}  | tags: []",
            f"attest {repository}@{digest} with sbom | tags: []",
        ]
        assert f"tagged `{commit}`, `{commit[:12]}`, `latest`" in run.output

    def test_again(self, hub: Hub) -> None:
        before, notes = hub.tags(), hub.notes
        run = hub.run()
        assert run.jobs["required"] == run.jobs["publish"] == "success", run.output
        assert "published already" in run.output
        assert (hub.tags(), hub.notes) == (before, notes)

    def test_a_tag_that_the_pipeline_did_not_publish(self, hub: Hub) -> None:
        hub.clone.skip_checks()
        hub.clone.test_only(ONE_TEST)
        commit, notes, latest = hub.clone.commit("Go on"), hub.notes, hub.tags()["latest"]
        # Somebody who may push images gives this commit's tag to another one.
        hub.registry.tag(hub.name, latest, commit)
        run = hub.run()
        assert "It is not taken as published" in run.output
        assert run.jobs["publish"] == run.jobs["required"] == "failure", run.output
        assert "a tag means one image" in run.output
        assert hub.tags()["latest"] == latest
        assert hub.record(commit).read_text().strip() not in hub.tags().values()
        assert hub.notes != notes  # it was built, tested and signed, but has no tag

    def test_a_private_copy(self, hub: Hub) -> None:
        hub.private = True
        notes = hub.notes
        hub.clone.skip_checks()
        hub.clone.test_only(ONE_TEST)
        commit = hub.clone.commit("Work in private")
        run = hub.run()
        hub.private = False
        assert run.jobs == GREEN, run.output
        assert hub.tags()["latest"] == hub.tags()[commit] == digest_under_test(hub)
        # Nothing was published outside the registry, and notices say so.
        assert hub.notes == notes
        assert "Not signed - " in run.output
        assert "Not attested - " in run.output
        assert "not uploaded to code scanning" in run.output


class TestPullRequest:
    """A stranger's pull request runs everything up to the scan, and pushes nothing."""

    def test_from_a_fork(self, hub: Hub) -> None:
        hub.clone.skip_checks()
        hub.clone.test_only(ONE_TEST)
        hub.clone.commit("Offer something")
        before, notes = hub.tags(), hub.notes
        fork = {"number": 1, "head": {"repo": {"full_name": "stranger/links"}}}
        run = hub.run(event="pull_request", pull_request=fork)
        for job in ("build", "containers", "scan", "required"):
            assert run.jobs[job] == "success", run.output
        assert run.jobs.get("publish", "skipped") == "skipped"
        assert not hub.registry.holds(hub.name, digest_under_test(hub))
        assert (hub.tags(), hub.notes) == (before, notes)


class TestStopped:
    """An image that fails a step gets no tag and does not reach the registry."""

    @pytest.fixture(autouse=True)
    def short(self, hub: Hub) -> None:
        hub.clone.skip_checks()
        hub.clone.test_only(ONE_TEST)

    def assert_stopped(self, hub: Hub, job: str, step: str, *words: str) -> None:
        before, notes = hub.tags(), hub.notes
        commit = hub.clone.commit("Break something")
        run = hub.run()
        assert run.code != 0
        assert (run.jobs[job], run.jobs["required"]) == ("failure", "failure"), run.output
        assert run.jobs.get("publish", "skipped") == "skipped"
        assert step in run.failed_steps()
        for word in words:
            assert word in run.output
        assert hub.tags() == before
        assert commit not in hub.tags()
        assert not hub.registry.holds(hub.name, digest_under_test(hub))
        assert [note for note in hub.notes[len(notes) :] if "upload" not in note] == []

    def test_by_a_container_test(self, hub: Hub) -> None:
        hub.clone.test_only("def test_the_image(images):\n    assert not images.version('one')\n")
        step = "make check-docker, against the built digest"
        self.assert_stopped(hub, "containers", step, "1 failed")

    def test_by_a_secret_in_a_layer(self, hub: Hub) -> None:
        hub.clone.write("app/leaked.txt", f"token = '{TOKEN}'\n")
        try:
            words = ("BLOCKS secret  github-pat", "leaked.txt")
            self.assert_stopped(hub, "scan", "Scan the built digest", *words)
        finally:
            (hub.clone.folder / "app/leaked.txt").unlink()

    def test_by_a_vulnerability_that_can_be_fixed(self, hub: Hub) -> None:
        hub.planted = (Planted("CVE-2099-0001", "fastapi"),)
        try:
            words = ("BLOCKS vulnerability  CVE-2099-0001",)
            self.assert_stopped(hub, "scan", "Scan the built digest", *words)
        finally:
            hub.planted = ()
