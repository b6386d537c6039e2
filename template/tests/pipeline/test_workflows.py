"""The workflows are safe to copy: they have pins, few rights and limits, and none of our names."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from template import ROOT

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
USES = re.compile(
    r"^\s*(?:- )?uses: (?P<action>[^@\s]+)@(?P<commit>\S+)(?P<comment>.*)$", re.MULTILINE
)
# Triggers that give a pull request from outside the rights of this repository.
DANGEROUS = {"pull_request_target", "workflow_run", "issue_comment"}


def triggers(workflow: dict[Any, Any]) -> set[str]:
    return set(workflow[True])  # YAML reads the key `on` as true


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def workflow(file: Path) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load(file.read_text())
    return document


def test_there_are_six() -> None:
    stems = ["ci", "nightly", "release", "rescan", "security", "update"]
    assert [path.stem for path in FILES] == stems


class TestActions:
    """Each action is one commit, the same everywhere, with its version behind it."""

    def test_pins(self, file: Path) -> None:
        found = list(USES.finditer(file.read_text()))
        assert len(found) == len(re.findall(r"\buses:", file.read_text()))
        for use in found:
            assert re.fullmatch(r"[0-9a-f]{40}", use["commit"]), use[0]
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", use["comment"]), use[0]

    def test_one_pin_for_each(self) -> None:
        pins: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for path in FILES:
            for use in USES.finditer(path.read_text()):
                repository = "/".join(use["action"].split("/")[:2])
                pins[repository].add((use["commit"], use["comment"]))
        assert {name: len(pin) for name, pin in pins.items()} == dict.fromkeys(pins, 1)

    def test_no_checkout_leaves_its_token_behind(self, workflow: dict[Any, Any]) -> None:
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False


class TestRights:
    """No right is granted to all jobs, and each grant has a reason."""

    def test_none_at_the_top(self, workflow: dict[Any, Any]) -> None:
        assert workflow["permissions"] == {}
        assert not triggers(workflow) & DANGEROUS

    def test_each_job_names_its_own(self, workflow: dict[Any, Any]) -> None:
        for name, job in workflow["jobs"].items():
            assert isinstance(job.get("permissions"), dict), name

    def test_each_grant_has_a_reason(self, file: Path) -> None:
        grants = re.findall(r"^ {6}[a-z-]+: (?:read|write)\b.*$", file.read_text(), re.MULTILINE)
        assert grants
        assert [grant for grant in grants if not re.search(r" # \w+", grant)] == []

    def test_only_publishing_may_write_to_the_registry(self) -> None:
        jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
        writing = {
            name: sorted(right for right, grant in job["permissions"].items() if grant == "write")
            for name, job in jobs.items()
        }
        assert {name: rights for name, rights in writing.items() if rights} == {
            "code-scanning": ["security-events"],
            "publish": ["attestations", "id-token", "packages", "statuses"],
        }


class TestIsolation:
    """What is signed was built in a job that ran nothing else, and has that job's digest."""

    @pytest.fixture
    def jobs(self) -> dict[str, Any]:
        workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
        return dict(workflow["jobs"])

    def test_the_job_that_builds(self, jobs: dict[str, Any]) -> None:
        steps = jobs["build"]["steps"]
        actions = [step["uses"].partition("@")[0] for step in steps if "uses" in step]
        assert actions == ["actions/checkout", "actions/upload-artifact"]
        [run] = [step["run"] for step in steps if "run" in step]
        assert re.findall(r"\b(?:make|deploy/\S+) [\w-]+", run) == [
            "make stage",
            "deploy/pipeline/stage --stop",
        ]

    def test_no_digest_comes_from_an_artifact(self, jobs: dict[str, Any]) -> None:
        publish = jobs["publish"]
        for name in ("AMD64", "ARM64"):
            assert publish["env"][name] == f"${{{{ needs.build.outputs.{name.lower()} }}}}"
        for job in ("containers", "scan"):
            assert "needs.build.outputs.amd64" in str(jobs[job])
        assert {"build", "containers", "scan", "check"} <= set(publish["needs"])

    def test_nobody_else_writes_an_image(self, jobs: dict[str, Any]) -> None:
        writers = {
            name
            for name, job in jobs.items()
            for step in job["steps"]
            if "upload-artifact" in step.get("uses", "") and "image-" in step["with"]["name"]
        }
        assert writers == {"build"}


class TestLimits:
    """Each job has a time limit, runs are grouped, and no pipe hides a failure."""

    def test_each_job_ends(self, workflow: dict[Any, Any]) -> None:
        for name, job in workflow["jobs"].items():
            assert 1 <= job["timeout-minutes"] <= 90, name

    def test_runs_are_grouped(self, workflow: dict[Any, Any]) -> None:
        assert set(workflow["concurrency"]) == {"group", "cancel-in-progress"}

    def test_pipes_fail(self, workflow: dict[Any, Any]) -> None:
        assert workflow["defaults"] == {"run": {"shell": "bash"}}


class TestRequired:
    """One required job depends on all others and runs even if they fail."""

    def test_it_needs_every_job(self) -> None:
        jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
        assert set(jobs["required"]["needs"]) == set(jobs) - {"required"}
        assert jobs["required"]["if"] == "always()"


class TestCopies:
    """A copy under another name needs no edit and no secret."""

    def test_no_secret_is_asked_for(self, file: Path) -> None:
        # The update's is asked for only after a variable has turned that workflow on.
        wanted = ["UPDATE_TOKEN"] if file.stem == "update" else []
        assert re.findall(r"secrets\.(\w+)", file.read_text()) == wanted

    def test_nobody_is_named(self, file: Path) -> None:
        text = file.read_text()
        assert "drydock" not in text.lower()
        assert re.findall(r"ghcr\.io/\S*", text) == []
        assert not re.search(r"github\.repository(_owner)? ==", text)

    def test_logic_stands_in_scripts(self, workflow: dict[Any, Any]) -> None:
        lines = [
            len(step["run"].strip().splitlines())
            for job in workflow["jobs"].values()
            for step in job["steps"]
            if "run" in step
        ]
        assert max(lines) <= 12
