"""Values that a stranger may choose, such as the name of a git tag, are never run by a shell."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from template import ROOT
from template.tests.pipeline.machine import Machine

VARIABLES = ("REGISTRY", "REPOSITORY", "FROM", "TAG", "IMAGE", "STAGED", "FILE", "BACKUP_IDENTITY")
PIPELINE = ("promote", "push", "rescan", "scan", "sbom", "stage", "verify")
OPERATOR = ("image", "prod", "deploy", "rollback", "backup", "restore")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    shutil.copy(ROOT / "Makefile", machine.folder)
    shutil.copytree(ROOT / "deploy", machine.folder / "deploy", dirs_exist_ok=True)
    machine.commit()
    for program in ("docker", "cosign", "gh", "trivy"):
        machine.stand_in(program, "exit 1")
    return machine


def make(machine: Machine, target: str, *words: str, **environment: str) -> None:
    # The tools are on PATH already.
    command = ["make", "--assume-old=tools", target, *words]
    path = f"{machine.bin}:/usr/bin:/bin"
    subprocess.run(
        command,
        cwd=machine.folder,
        env={"PATH": path, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("target", [*PIPELINE, *OPERATOR])
class TestMake:
    @pytest.mark.parametrize(
        "attack", ["v1;touch pwned", "$(touch pwned)", "`touch pwned`", "'; touch pwned; '"]
    )
    def test_on_the_command_line(self, machine: Machine, target: str, attack: str) -> None:
        # make itself reads a dollar, so this is what somebody types who means the dollar.
        value = attack.replace("$", "$$")
        make(machine, target, *(f"{name}={value}" for name in VARIABLES))
        make(machine, target, f"TAG={value}", "REGISTRY=127.0.0.1:1", "REPOSITORY=o/n", "FROM=a")
        assert not (machine.folder / "pwned").exists()

    def test_in_the_environment(self, machine: Machine, target: str) -> None:
        attack = '$(shell touch pwned);touch pwned;`touch pwned`";touch pwned;"'
        make(machine, target, **dict.fromkeys(VARIABLES, attack))
        assert not (machine.folder / "pwned").exists()


class TestWorkflows:
    """A workflow gives make its values in the environment, where make does not expand them."""

    @pytest.mark.parametrize("file", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=str)
    def test_no_value_on_the_command_line(self, file: Path) -> None:
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for step in job["steps"]:
                assert not re.search(r"\bmake [^|;&\n]*\w=", step.get("run", ""))
