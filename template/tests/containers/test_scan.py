"""`make scan` finds what was planted, and is never green where it could not look."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from python_on_whales import DockerClient

from template.tests.containers.trivy_database import INTERPRETERS, Planted, write_database
from tests.stack.images import ONE, Images
from tests.stack.source import copy_of_repository, run

# In two parts, so that scanners of this repository do not find it.
TOKEN = "ghp_" + "1bT9" * 9
CRITICAL = Planted("CVE-2099-0001", "fastapi")

pytestmark = pytest.mark.timeout(240)


class Scanned(NamedTuple):
    said: str
    passed: bool
    reports: Path

    def finds(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.said.splitlines())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of analysed layers for all tests. Each test has its own database."""
    return tmp_path_factory.mktemp("scanner")


def scan(source: Path, image: str, environment: Mapping[str, str]) -> Scanned:
    """Scan as `make scan` does."""
    script = 'deploy/pipeline/scan "$0" && echo PASSED'
    said = run(["bash", "-c", script, image], cwd=source, env=environment, check=False)
    return Scanned(said, "PASSED" in said, source / ".pipeline/reports")


class TestVulnerabilities:
    def test_none_is_known(self, source: Path, images: Images, cache: Path) -> None:
        found = scan(source, images.name(ONE), write_database(cache))
        assert found.passed, found.said
        assert found.finds("packages and Python 3.", "looked at", "0 stop it")

    def test_one_that_can_be_fixed(self, source: Path, images: Images, cache: Path) -> None:
        harmless = (
            Planted("CVE-2099-0002", "redis", fixed=""),
            Planted("CVE-2099-0003", "anyio", "LOW"),
        )
        found = scan(source, images.name(ONE), write_database(cache, CRITICAL, *harmless))
        assert not found.passed
        assert found.finds("BLOCKS", "CVE-2099-0001", "fastapi", "fixed in 999.0")
        for planted in harmless:
            assert found.finds(planted.id, planted.package)
            assert not found.finds("BLOCKS", planted.id)
        sarif = json.loads((found.reports / "scan.sarif").read_text())
        told = {result["ruleId"] for run in sarif["runs"] for result in run["results"]}
        assert told == {"CVE-2099-0001", "CVE-2099-0002", "CVE-2099-0003"}

    @pytest.mark.parametrize("days", [-1, 1])
    def test_one_that_is_accepted(
        self, source: Path, images: Images, cache: Path, tmp_path: Path, days: int
    ) -> None:
        until = datetime.now(UTC).date() + timedelta(days=days)
        exceptions = tmp_path / "exceptions.yaml"
        ours = (source / ".trivyignore.yaml").read_text()
        exceptions.write_text(
            f"{ours}vulnerabilities:\n  - id: CVE-2099-0001\n"
            f"    statement: nothing here calls it\n    expired_at: {until}\n"
        )
        environment = {**write_database(cache, CRITICAL), "EXCEPTIONS": str(exceptions)}
        found = scan(source, images.name(ONE), environment)
        assert found.passed == (days > 0), found.said
        assert found.finds("1 accepted") == (days > 0)
        assert found.finds("BLOCKS exception", "it ended on") == (days < 0)
        assert found.finds("BLOCKS vulnerability", "CVE-2099-0001") == (days < 0)


class TestInterpreter:
    """CPython is judged too, although no package manager installed it."""

    def test_a_fix_of_it(self, source: Path, images: Images, cache: Path) -> None:
        planted = Planted("CVE-2099-0004", "python", of=INTERPRETERS)
        found = scan(source, images.name(ONE), write_database(cache, planted))
        assert not found.passed
        assert found.finds("BLOCKS", "CVE-2099-0004", "python 3.14", "fixed in 999.0")

    def test_an_image_that_hides_it(
        self, source: Path, images: Images, cache: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "Dockerfile").write_text(
            f"FROM {images.name(ONE)}\nUSER 0\nRUN rm -r /usr/local/share/sbom\n"
        )
        run(["docker", "build", "--quiet", "--tag", images.name("hidden"), "."], cwd=tmp_path)
        found = scan(source, images.name("hidden"), write_database(cache))
        assert not found.passed
        assert found.finds("NOT SCANNED", "no report lists the Python interpreter")

    def test_a_database_without_it(self, source: Path, images: Images, cache: Path) -> None:
        found = scan(source, images.name(ONE), write_database(cache, always=()))
        assert not found.passed
        assert found.finds("NOT SCANNED", "no vulnerability of any Python interpreter")


# The content is amd64's, since this machine can run nothing else. trivy does not look at that.
ARM64 = """FROM --platform=linux/amd64 {image} AS amd64
FROM scratch
COPY --from=amd64 / /
"""


class TestArchitecture:
    """An image of another architecture is scanned too: nothing of it runs."""

    def test_arm64(self, source: Path, images: Images, cache: Path, tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text(ARM64.format(image=images.name(ONE)))
        command = ["docker", "build", "--quiet", "--platform", "linux/arm64", "--tag"]
        run([*command, images.name("arm64"), "."], cwd=tmp_path)
        assert images.inspect("arm64", "{{.Architecture}}") == "arm64"
        found = scan(source, images.name("arm64"), write_database(cache, CRITICAL))
        assert found.finds("BLOCKS", "CVE-2099-0001", "fastapi")
        assert found.finds("packages and Python 3.", "looked at")


class TestSecrets:
    def test_in_a_layer_that_a_later_one_hides(
        self, docker: DockerClient, source: Path, images: Images, cache: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "Dockerfile").write_text(
            f"FROM {images.name(ONE)}\nUSER 0\nCOPY leaked.txt /srv/\nRUN rm /srv/leaked.txt\n"
        )
        (tmp_path / "leaked.txt").write_text(f"token = '{TOKEN}'\n")
        run(["docker", "build", "--quiet", "--tag", images.name("leak"), "."], cwd=tmp_path)
        found = scan(source, images.name("leak"), write_database(cache))
        assert not found.passed
        assert found.finds("BLOCKS secret", "github-pat", "leaked.txt")
        assert TOKEN not in found.said


class TestMisconfigurations:
    def test_a_file_that_runs_as_root(self, images: Images, cache: Path, tmp_path: Path) -> None:
        copy = copy_of_repository(tmp_path / "copy", images.source)
        (copy / "Dockerfile.planted").write_text("FROM scratch\nCMD ['true']\n")
        found = scan(copy, images.name(ONE), write_database(cache))
        assert not found.passed
        assert found.finds("BLOCKS misconfiguration", "DS-0002", "Dockerfile.planted")


class TestUnseen:
    """An image that was not scanned does not pass."""

    def test_a_database_out_of_reach(self, source: Path, images: Images, tmp_path: Path) -> None:
        environment = {"TRIVY_CACHE_DIR": str(tmp_path), "TRIVY_DB_REPOSITORY": "127.0.0.1:1/none"}
        found = scan(source, images.name(ONE), environment)
        assert not found.passed
        assert found.finds("NOT SCANNED", "database is out of reach", "not a pass")
        assert list(found.reports.glob("gate.json")) == []

    def test_an_old_database(self, source: Path, images: Images, cache: Path) -> None:
        environment = write_database(cache, age=timedelta(days=8))
        found = scan(source, images.name(ONE), environment)
        assert not found.passed
        assert found.finds("NOT SCANNED", "database is of")

    def test_no_such_image(self, source: Path, cache: Path) -> None:
        found = scan(source, "127.0.0.1:1/none:none", write_database(cache))
        assert not found.passed
        assert found.finds("NOT SCANNED", "could not look at 127.0.0.1:1/none:none")
