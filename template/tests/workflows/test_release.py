"""release.yml tags a published digest. rescan.yml reports new findings."""

import pytest

from template.tests.containers.away import registry_that_says
from template.tests.containers.trivy_database import Planted
from template.tests.workflows.conftest import Hub
from template.tests.workflows.test_ci import ONE_TEST

VERSION = "v9.8.7"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def published(hub: Hub) -> str:
    """A commit whose pipeline has finished."""
    hub.clone.skip_checks()
    hub.clone.test_only(ONE_TEST)
    heading = "## [9.8.7] - 2099-01-01\n\n- Sails.\n\n## [Unreleased]"
    hub.clone.edit("CHANGELOG.md", "## [Unreleased]", heading)
    commit = hub.clone.commit("Set sail")
    run = hub.run()
    assert run.jobs["required"] == "success", run.output
    return commit


class TestRelease:
    def test_a_commit_without_an_image_is_refused(self, hub: Hub, published: str) -> None:
        hub.clone.commit("Not through yet")
        hub.clone.git("tag", VERSION)
        before = hub.tags()
        run = hub.run("release.yml", ref=f"refs/tags/{VERSION}")
        hub.clone.git("tag", "--delete", VERSION)
        hub.clone.git("reset", "--quiet", "--hard", published)
        assert run.jobs["release"] == "failure"
        assert "The pipeline of this commit has not finished" in run.output
        assert hub.tags() == before

    def test_the_same_digest_gets_the_version(self, hub: Hub, published: str) -> None:
        hub.clone.git("tag", VERSION)
        run = hub.run("release.yml", ref=f"refs/tags/{VERSION}")
        assert run.jobs["release"] == "success", run.output
        assert hub.tags()[VERSION] == hub.tags()[published]
        assert "- Sails." in run.output
        made = next(note for note in hub.notes if note.startswith("gh release create"))
        assert f"gh release create {VERSION} --verify-tag" in made

    def test_a_version_that_nobody_wrote_about_is_refused(self, hub: Hub, published: str) -> None:
        run = hub.run("release.yml", ref="refs/tags/v9.9.9")
        assert run.jobs["release"] == "failure"
        assert "v9.9.9" not in hub.tags()


class TestRescan:
    def test_nothing_new(self, hub: Hub, published: str) -> None:
        before = hub.notes
        run = hub.run("rescan.yml", event="schedule")
        assert run.jobs["rescan"] == "success", run.output
        assert hub.notes == before

    def test_a_registry_in_trouble(self, hub: Hub, published: str) -> None:
        with registry_that_says(503) as hub.address:
            run = hub.run("rescan.yml", event="schedule")
        hub.address = ""
        assert run.jobs["rescan"] == "failure", run.output
        assert "can't be looked up" in run.output

    def test_something_came_to_light(self, hub: Hub, published: str) -> None:
        hub.planted = (Planted("CVE-2099-0001", "fastapi"),)
        run = hub.run("rescan.yml", event="schedule")
        hub.planted = ()
        assert run.jobs["rescan"] == "success", run.output
        assert "gh issue create" in "\n".join(hub.notes)
        assert "CVE-2099-0001 | fastapi" in "\n".join(hub.notes)
