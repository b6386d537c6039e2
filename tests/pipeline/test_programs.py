"""What the scripts say to gh, cosign and docker, told by programs that stand in for those."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.scripts import SCRIPTS, Said, run_script, stand_in

DIGEST, AMD64, ARM64 = ("sha256:" + digit * 64 for digit in "abc")
INDEX = {
    "manifests": [
        {"digest": AMD64, "platform": {"architecture": "amd64"}},
        {"digest": ARM64, "platform": {"architecture": "arm64"}},
    ]
}
# `docker buildx imagetools inspect` of one image that is there, and of nothing else.
DOCKER = f"""case "$* " in
  *:gone*) echo "ERROR: $4: not found" >&2; exit 1 ;;
  *:away*) echo "ERROR: dial tcp: connection refused" >&2; exit 1 ;;
  *--raw*) echo '{json.dumps(INDEX)}' ;;
  *'json .Manifest'*) echo '{{"digest": "{DIGEST}"}}' ;;
esac"""


FOUND = {
    "kind": "vulnerability",
    "id": "CVE-2099-0001",
    "where": "fastapi 0.1",
    "severity": "HIGH",
    "remedy": "fixed in 0.2",
    "blocks": True,
}


class Machine:
    """A folder with a copy of the scripts, a commit, and programs of our own first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.bin = folder / "bin"
        self.noted = folder / "noted"
        shutil.copytree(SCRIPTS, self.folder / "deploy/pipeline")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()
        stand_in(self.bin, "docker", DOCKER)

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        command = ["git", *identity, *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "One")
        return self.git("rev-parse", "HEAD")

    def stand_in(self, name: str, script: str = "") -> None:
        stand_in(self.bin, name, f'echo "{name} $*" >>"{self.noted}"\n{script}')

    def run(self, name: str, *words: object, **environment: str) -> Said:
        path = f"{self.bin}:{os.environ['PATH']}"
        return run_script(name, *words, folder=self.folder, PATH=path, **environment)

    @property
    def calls(self) -> list[str]:
        return self.noted.read_text().splitlines() if self.noted.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestRevision:
    """It is the commit, and says so if anything differs from it."""

    def test_clean(self, machine: Machine) -> None:
        assert machine.run("revision").out.strip() == machine.git("rev-parse", "HEAD")

    @pytest.mark.parametrize("name", ["deploy/pipeline/revision", "new.py"])
    def test_dirty(self, machine: Machine, name: str) -> None:
        with (machine.folder / name).open("a") as file:
            file.write("\n")
        head = machine.git("rev-parse", "HEAD")
        assert machine.run("revision").out.strip() == f"{head}-dirty"


class TestPush:
    def test_a_dirty_tree_is_refused(self, machine: Machine) -> None:
        machine.stand_in("docker")
        (machine.folder / "new.py").touch()
        said = machine.run("push", f"127.0.0.1:1/x@{DIGEST}", REGISTRY="127.0.0.1:1")
        assert said.code == 1
        assert "The tree differs from its commit" in said.err
        assert "new.py" in said.err
        assert machine.calls == []

    def test_it_has_to_be_told_where_to(self, machine: Machine) -> None:
        assert "REGISTRY=ghcr.io NAME=owner/name" in machine.run("push", REGISTRY="").err


class TestPlan:
    """A run's names come from the repository that it runs in."""

    def plan(self, machine: Machine, registry: str = "ghcr.io", **environment: str) -> list[str]:
        said = machine.run(
            "plan", GITHUB_REPOSITORY="Some-One/Their.Links", REGISTRY=registry, **environment
        )
        assert said.code == 0
        return said.out.splitlines()

    def test_names(self, machine: Machine) -> None:
        head = machine.git("rev-parse", "HEAD")
        assert self.plan(machine, LOOK="false") == [
            "name=some-one/their.links",
            f"revision={head}",
            f"short={head[:12]}",
            "published=",
        ]

    def test_a_published_commit(self, machine: Machine) -> None:
        assert self.plan(machine)[-1] == f"published={DIGEST}"

    def test_a_registry_that_is_away(self, machine: Machine) -> None:
        stand_in(machine.bin, "docker", DOCKER.replace('"$* "', "x:away"))
        assert self.plan(machine)[-1] == "published="


class TestVerify:
    """The image has to be signed and attested by this repository's CI on main, and no other."""

    def verify(self, machine: Machine, tag: str = "abc", **environment: str) -> Said:
        words = {"REGISTRY": "ghcr.io", "NAME": "some-one/links", "REPOSITORY": ""}
        return machine.run("verify", tag, **{**words, **environment})

    def test_what_is_asked(self, machine: Machine) -> None:
        machine.stand_in("cosign")
        machine.stand_in("gh")
        said = self.verify(machine, REPOSITORY="Some-One/Links")
        assert said.code == 0
        assert said.out.strip().endswith("signed and attested by Some-One/Links")
        signature, provenance, *boms = machine.calls
        assert f"ghcr.io/some-one/links@{DIGEST}" in signature
        identity = r"/Some-One/Links/\.github/workflows/ci\.yml@refs/heads/main$"
        assert identity in signature
        assert f"oci://ghcr.io/some-one/links@{DIGEST}" in provenance
        assert "https://slsa.dev/provenance/v1" in provenance
        assert ["spdx" in call for call in boms] == [True, True]
        assert all(digest in call for digest, call in zip((AMD64, ARM64), boms, strict=True))
        for call in machine.calls[1:]:
            assert "--signer-workflow Some-One/Links/.github/workflows/ci.yml" in call

    @pytest.mark.parametrize("refusing", ["cosign", "gh"])
    def test_one_that_says_no(self, machine: Machine, refusing: str) -> None:
        machine.stand_in("cosign", "exit 1" if refusing == "cosign" else "")
        machine.stand_in("gh", "exit 1" if refusing == "gh" else "")
        said = self.verify(machine)
        assert said.code == 1
        assert "signed" not in said.out

    def test_no_such_image(self, machine: Machine) -> None:
        machine.stand_in("cosign")
        machine.stand_in("gh")
        assert "gone does not exist" in self.verify(machine, "gone").err
        assert "can't be looked up" in self.verify(machine, "away").err
        assert machine.calls == []

    def test_a_missing_program(self, machine: Machine) -> None:
        for program in ("bash", "git", "jq", "dirname"):
            (machine.bin / program).symlink_to(shutil.which(program) or "")
        said = run_script(
            "verify", "abc", folder=machine.folder, PATH=str(machine.bin), REGISTRY="x", NAME="a/b"
        )
        assert said.code == 1
        assert "cosign is missing here; without it nothing is verified." in said.err


class TestReport:
    """One issue tells what was found; it is left alone while that stays the same."""

    TITLE = "The published image has findings that can be fixed"

    def report(self, machine: Machine, issues: list[dict[str, object]], **change: object) -> str:
        for architecture in ("amd64", "arm64"):
            folder = machine.folder / "reports" / architecture
            folder.mkdir(parents=True, exist_ok=True)
            harmless = {**FOUND, "id": "CVE-2099-0009", "blocks": False}
            gate = {"findings": [{**FOUND, **change}, harmless]}
            (folder / "gate.json").write_text(json.dumps(gate))
        (machine.folder / "issues.json").write_text(json.dumps(issues))
        listed = f'[ "$2" != list ] || cat "{machine.folder}/issues.json"'
        keep = f'[ "$2" != create ] || printf %s "$6" >"{machine.folder}/body"'
        machine.stand_in("gh", f"{listed}\n{keep}")
        said = machine.run("report", "reports")
        assert said.code == 0, said.err
        return said.out

    def body(self, machine: Machine) -> str:
        return (machine.folder / "body").read_text()

    def test_the_first(self, machine: Machine) -> None:
        self.report(machine, [{"number": 3, "title": f"Not: {self.TITLE}", "body": ""}])
        body = self.body(machine)
        assert body.count("| CVE-2099-0001 | fastapi 0.1 | HIGH | fixed in 0.2 |") == 1
        assert "CVE-2099-0009" not in body

    def test_the_same_again(self, machine: Machine) -> None:
        self.report(machine, [])
        issue = {"number": 7, "title": self.TITLE, "body": self.body(machine)}
        machine.noted.unlink()
        assert "Issue 7 tells it already." in self.report(machine, [issue])
        assert [call.split()[2] for call in machine.calls if call.startswith("gh")] == ["list"]

    def test_something_new(self, machine: Machine) -> None:
        self.report(machine, [])
        issue = {"number": 7, "title": self.TITLE, "body": self.body(machine)}
        machine.noted.unlink()
        self.report(machine, [issue], id="CVE-2099-0002")
        done = [call.split()[1:4] for call in machine.calls if call.startswith("gh")]
        assert done[1:] == [["issue", "edit", "7"], ["issue", "comment", "7"]]
