"""The version is the commit, with -dirty if the tree differs from it."""

import shutil
from pathlib import Path

import pytest

from template import ROOT
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

    def test_beside_another_service(self, machine: Machine) -> None:
        """What changes in another folder of the repository does not count."""
        above = machine.folder.parent
        (machine.folder / ".git").rename(above / ".git")
        head = machine.commit()
        (above / "other.py").touch()
        assert machine.run("revision").out.strip() == head
        (machine.folder / "new.py").touch()
        assert machine.run("revision").out.strip() == f"{head}-dirty"
        refused = machine.run("push", REGISTRY="127.0.0.1:1").err
        assert "new.py" in refused
        assert "other.py" not in refused


class TestWithoutCommit:
    """Without a commit there is no version, so nothing is built unless somebody names one."""

    @pytest.fixture
    def archive(self, machine: Machine) -> Machine:
        """A downloaded archive, and a program that takes the place of docker."""
        shutil.copy(ROOT / "deploy/build", machine.folder / "deploy")
        shutil.rmtree(machine.folder / ".git")
        machine.stand_in("docker")
        return machine

    def refused(self, machine: Machine) -> None:
        for name in ("revision", "../build", "plan", "push"):
            said = machine.run(name, REGISTRY="127.0.0.1:1", LOOK="false")
            assert (said.code, said.out) == (1, ""), name
            assert "name the version yourself: GIT_SHA=1.0.0" in said.err
        assert machine.calls == []

    def test_an_archive(self, archive: Machine) -> None:
        self.refused(archive)

    def test_inside_another_repository(self, archive: Machine, tmp_path: Path) -> None:
        Machine(tmp_path / "other").folder.joinpath(".git").rename(tmp_path / ".git")
        self.refused(archive)

    def test_before_the_first_commit(self, archive: Machine) -> None:
        archive.git("init", "--quiet")
        archive.git("add", "--all")
        self.refused(archive)

    def test_a_machine_without_git(self, machine: Machine) -> None:
        machine.stand_in("git", "exit 127")
        assert machine.run("revision").code == 1

    def test_a_named_version(self, archive: Machine) -> None:
        assert archive.run("../build", GIT_SHA="1.0.0").code == 0
        [call] = archive.calls
        assert "SOURCE_DATE_EPOCH=0 " in call
        assert "GIT_SHA=1.0.0 " in call
        assert "--tag drydock:1.0.0 " in call
