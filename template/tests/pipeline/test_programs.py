"""How the pipeline's scripts call docker, cosign and gh. Fake programs record the calls.

This needs jq, and no Docker Engine.
"""

import json
import shutil
from pathlib import Path

import pytest

from template.tests.pipeline.machine import Machine
from template.tests.pipeline.scripts import Said, run_script, stand_in

DIGEST, AMD64, ARM64 = ("sha256:" + digit * 64 for digit in "abc")
INDEX = {
    "manifests": [
        {"digest": AMD64, "platform": {"architecture": "amd64"}},
        {"digest": ARM64, "platform": {"architecture": "arm64"}},
    ]
}
# A fake `docker buildx imagetools inspect` that knows one image.
DOCKER = f"""case "$* " in
  *:gone*) echo "ERROR: $4: not found" >&2; exit 1 ;;
  *:away*) echo "ERROR: dial tcp: connection refused" >&2; exit 1 ;;
  *--raw*) echo '{json.dumps(INDEX)}' ;;
  *'json .Manifest'*) echo '{{"digest": "{DIGEST}"}}' ;;
esac"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    stand_in(machine.bin, "docker", DOCKER)
    return machine


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
        assert "REGISTRY=ghcr.io REPOSITORY=owner/name" in machine.run("push", REGISTRY="").err


class TestPlan:
    """A run's names come from the repository that it runs in."""

    def plan(self, machine: Machine, registry: str = "ghcr.io", **environment: str) -> list[str]:
        said = machine.run(
            "plan", REPOSITORY="Some-One/Their.Links", REGISTRY=registry, **environment
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
        words = {"REGISTRY": "ghcr.io", "REPOSITORY": "Some-One/Links"}
        return machine.run("verify", tag, **{**words, **environment})

    def test_what_is_asked(self, machine: Machine) -> None:
        machine.stand_in("cosign")
        machine.stand_in("gh")
        said = self.verify(machine)
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
            "verify",
            "abc",
            folder=machine.folder,
            PATH=str(machine.bin),
            REGISTRY="x",
            REPOSITORY="a/b",
        )
        assert said.code == 1
        assert "cosign is missing here; without it nothing is verified." in said.err
