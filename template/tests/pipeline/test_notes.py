"""The notes of a release are what CHANGELOG.md says about it."""

import shutil
from pathlib import Path

import pytest

from template.tests.pipeline.scripts import SCRIPTS, Said, run_script

CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Not yet.

## [1.10.0] - 2026-11-25

### Added

- Sails.

## [1.1.0] - 2026-10-01

## 1.0.0

- The hull.

[Unreleased]: https://example.com/compare/v1.1.0...HEAD
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "deploy/pipeline").mkdir(parents=True)
    shutil.copy(SCRIPTS / "notes.py", tmp_path / "deploy/pipeline")
    return tmp_path


class TestNotes:
    def test_a_section(self, folder: Path) -> None:
        assert run_script("notes.py", "v1.10.0", folder=folder) == Said(
            0, "### Added\n\n- Sails.\n", ""
        )

    def test_the_last_one_ends_before_the_links(self, folder: Path) -> None:
        assert run_script("notes.py", "v1.0.0", folder=folder).out == "- The hull.\n"

    @pytest.mark.parametrize("version", ["v1.1.0", "v1.1", "v2.0.0", "v1.10", "v1.1000"])
    def test_nothing_to_say(self, folder: Path, version: str) -> None:
        said = run_script("notes.py", version, folder=folder)
        assert said.code == 1
        assert f"nothing to say about {version.removeprefix('v')}" in said.err
