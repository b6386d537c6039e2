"""The locked packages are compared with the database, or it is said that nobody did."""

import shutil
from pathlib import Path

import pytest

from template import ROOT
from template.tests.containers.trivy_database import Planted, write_database
from template.tests.pipeline.scripts import SCRIPTS, Said, run_script, stand_in

pytestmark = pytest.mark.skipif(not shutil.which("trivy"), reason="no trivy here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with our locks, the exceptions and the scripts."""
    folder = tmp_path / "clone"
    shutil.copytree(SCRIPTS, folder / "deploy/pipeline")
    for file in (*ROOT.glob("requirements*.txt"), ROOT / ".trivyignore.yaml"):
        shutil.copy(file, folder)
    return folder


def advisories(folder: Path, **environment: str) -> Said:
    # `make check PYTHON=…` names the Python that makes .venv. Only .venv has what the gate needs.
    return run_script("advisories", folder=folder, **{"CI": "", "PYTHON": "false", **environment})


class TestAdvisories:
    def test_none(self, folder: Path) -> None:
        said = advisories(folder, **write_database(folder.parent))
        assert said.code == 0, said.err
        assert "packages looked at" in said.out

    @pytest.mark.parametrize("package", ["fastapi", "pytest", "zizmor"])
    def test_of_production_of_development_and_of_the_tools(
        self, folder: Path, package: str
    ) -> None:
        planted = Planted("CVE-2099-0001", package)
        said = advisories(folder, **write_database(folder.parent, planted))
        assert said.code == 1, said.err
        assert f"BLOCKS vulnerability  CVE-2099-0001  CRITICAL  {package} " in said.out

    def test_a_lock_that_trivy_does_not_read(self, folder: Path) -> None:
        (folder / "requirements-tools.txt").write_text("# nothing\n")
        said = advisories(folder, **write_database(folder.parent))
        assert said.code == 2
        assert "NOT SCANNED: no report lists any package of requirements-tools.txt" in said.err

    @pytest.mark.parametrize(("where", "code"), [("true", 2), ("", 0)])
    def test_a_database_out_of_reach(self, folder: Path, where: str, code: int) -> None:
        cache = {"TRIVY_CACHE_DIR": str(folder), "TRIVY_DB_REPOSITORY": "127.0.0.1:1/none"}
        said = advisories(folder, CI=where, **cache)
        assert said.code == code
        assert "NOT CHECKED" in said.err
        assert "looked at" not in said.out

    @pytest.mark.parametrize(("where", "code"), [("true", 2), ("", 0)])
    def test_a_machine_without_trivy(self, folder: Path, where: str, code: int) -> None:
        programs = folder.parent / "bin"
        stand_in(programs, "git", "")
        for program in ("bash", "dirname", "mkdir", "rm"):
            (programs / program).symlink_to(shutil.which(program) or "")
        said = advisories(folder, CI=where, PATH=str(programs))
        assert said.code == code
        assert "trivy is missing here" in said.err
