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
  *:helper*) echo "ERROR: docker-credential-x: executable file not found" >&2; exit 1 ;;
  *--raw*cut*) echo "ERROR: unexpected EOF" >&2; exit 1 ;;
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
        machine.stand_in("gh", f"echo {DIGEST}")
        assert self.plan(machine)[-1] == f"published={DIGEST}"
        head = machine.git("rev-parse", "HEAD")
        assert machine.calls[0].startswith(
            f"gh api repos/Some-One/Their.Links/commits/{head}/statuses"
        )

    @pytest.mark.parametrize("recorded", ["", AMD64])
    def test_a_tag_that_somebody_else_has_pushed(self, machine: Machine, recorded: str) -> None:
        machine.stand_in("gh", f"echo '{recorded}'")
        said = machine.run("plan", REPOSITORY="Some-One/Links", REGISTRY="ghcr.io")
        assert said.out.splitlines()[-1] == "published="
        assert f"is {DIGEST}, and the pipeline recorded '{recorded}'" in said.err

    def test_a_record_that_can_not_be_read(self, machine: Machine) -> None:
        machine.stand_in("gh", "exit 1")
        said = machine.run("plan", REPOSITORY="Some-One/Links", REGISTRY="ghcr.io")
        assert (said.code, said.out) == (1, "")

    def test_a_registry_that_is_away(self, machine: Machine) -> None:
        stand_in(machine.bin, "docker", DOCKER.replace('"$* "', "x:away"))
        assert self.plan(machine)[-1] == "published="


class TestRecord:
    """The pipeline's own note of what it published is a status of the commit."""

    def test_it_is_written(self, machine: Machine) -> None:
        machine.stand_in("gh")
        assert machine.run("record", DIGEST, REPOSITORY="Some-One/Links").code == 0
        head = machine.git("rev-parse", "HEAD")
        [call] = machine.calls
        assert f"repos/Some-One/Links/statuses/{head} " in call
        assert call.endswith(f"context=image -f description={DIGEST}")

    def test_the_newest_of_the_pipeline_counts(self, machine: Machine) -> None:
        def status(context: str, login: str, description: str) -> dict[str, object]:
            return {"context": context, "creator": {"login": login}, "description": description}

        bot = "github-actions[bot]"
        statuses = [
            status("image", "somebody", ARM64),
            status("lint", bot, ARM64),
            status("image", bot, DIGEST),
            status("image", bot, AMD64),
        ]
        (machine.folder / ".git/statuses.json").write_text(json.dumps(statuses))
        # The last word is the filter that gh would apply.
        machine.stand_in("gh", 'jq -r "${@: -1}" .git/statuses.json')
        assert machine.run("record", REPOSITORY="Some-One/Links").out.strip() == DIGEST
        (machine.folder / ".git/statuses.json").write_text("[]")
        assert machine.run("record", REPOSITORY="Some-One/Links").out.strip() == ""


class TestSource:
    """The image's label names the repository, the same for each clone of it."""

    @pytest.mark.parametrize(
        ("remote", "address"),
        [
            ("https://github.com/Some-One/links.git", "https://github.com/Some-One/links"),
            ("https://me:secret@github.com/o/n", "https://github.com/o/n"),
            ("git@github.com:o/n.git", "https://github.com/o/n"),
            ("ssh://git@github.com:22/o/n", "https://github.com/o/n"),
            ("/srv/n.git", ""),
            ("../n", ""),
        ],
    )
    def test_a_remote(self, machine: Machine, remote: str, address: str) -> None:
        machine.git("remote", "add", "origin", remote)
        assert machine.run("source", GITHUB_REPOSITORY="").out.strip() == address

    def test_none(self, machine: Machine) -> None:
        assert machine.run("source", GITHUB_REPOSITORY="") == Said(0, "", "")

    def test_on_github(self, machine: Machine) -> None:
        said = machine.run("source", GITHUB_REPOSITORY="o/n", GITHUB_SERVER_URL="https://ghe.a")
        assert said.out.strip() == "https://ghe.a/o/n"


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
        # A provenance of this identity is no signature.
        assert "verify-attestation --type https://sigstore.dev/cosign/sign/v1" in signature
        assert f"ghcr.io/some-one/links@{DIGEST}" in signature
        identity = r"/Some-One/Links/\.github/workflows/ci\.yml@refs/heads/main$"
        assert identity in signature
        assert f"oci://ghcr.io/some-one/links@{DIGEST}" in provenance
        assert "https://slsa.dev/provenance/v1" in provenance
        assert ["spdx" in call for call in boms] == [True, True]
        assert all(digest in call for digest, call in zip((AMD64, ARM64), boms, strict=True))
        for call in machine.calls[1:]:
            assert "--signer-workflow Some-One/Links/.github/workflows/ci.yml" in call

    def test_a_digest(self, machine: Machine) -> None:
        machine.stand_in("cosign")
        machine.stand_in("gh")
        assert self.verify(machine, DIGEST).code == 0

    def test_a_private_repository_without_attestations(self, machine: Machine) -> None:
        machine.stand_in("cosign")
        said = self.verify(machine, ATTESTED="false")
        assert said.out.strip().endswith("signed by Some-One/Links")
        assert [call.split()[0] for call in machine.calls] == ["cosign"]

    def test_an_index_that_can_not_be_read(self, machine: Machine) -> None:
        machine.stand_in("cosign")
        machine.stand_in("gh")
        said = self.verify(machine, REPOSITORY="cut/links")
        assert said.code != 0
        assert "signed" not in said.out

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
        assert "can't be looked up" in self.verify(machine, "helper").err
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
