"""The version is the commit, with -dirty if the tree differs from it."""

from pathlib import Path

import pytest

from template.tests.pipeline.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestRevision:
    """It is the commit, with -dirty if the tree differs from it."""

    def test_clean(self, machine: Machine) -> None:
        assert machine.run("revision").out.strip() == machine.git("rev-parse", "HEAD")

    @pytest.mark.parametrize("name", ["deploy/pipeline/revision", "new.py"])
    def test_dirty(self, machine: Machine, name: str) -> None:
        with (machine.folder / name).open("a") as file:
            file.write("\n")
        head = machine.git("rev-parse", "HEAD")
        assert machine.run("revision").out.strip() == f"{head}-dirty"
