"""The summary of a run shows its result."""

import json
from pathlib import Path

from template import ROOT
from template.tests.pipeline.scripts import run_script

DIGEST = "sha256:" + "a" * 64
FACTS = {"architecture": "amd64", "digest": DIGEST}
FOUND = {"id": "CVE-2099-0001", "where": "fastapi 0.1", "blocks": True}


def summary(folder: Path, **environment: str) -> str:
    unset = {"PUBLISHED": "", "TAGS": ""}
    said = run_script("summary.py", folder, folder=ROOT, **unset | environment)
    assert (said.code, said.err) == (0, "")
    return said.out


def write(file: Path, content: object) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


class TestSummary:
    def test_a_run_that_published(self, tmp_path: Path) -> None:
        write(tmp_path / "report-amd64/facts.json", FACTS)
        gate = {"packages": 144, "accepted": 1, "findings": [FOUND | {"blocks": False}]}
        write(tmp_path / "report-amd64/gate.json", gate)
        said = summary(
            tmp_path, PUBLISHED=DIGEST, TAGS="abc latest", REGISTRY="ghcr.io", REPOSITORY="A/b"
        )
        assert f"`ghcr.io/a/b@{DIGEST}`, tagged `abc`, `latest`" in said
        assert "make verify REGISTRY=ghcr.io REPOSITORY=A/b TAG=abc" in said
        assert "nothing stops it; 1 to know of, 1 accepted, 144 packages" in said

    def test_a_run_that_was_stopped(self, tmp_path: Path) -> None:
        write(tmp_path / "report-amd64/facts.json", FACTS)
        gate = {"packages": 144, "accepted": 0, "findings": [FOUND]}
        write(tmp_path / "report-amd64/gate.json", gate)
        said = summary(tmp_path)
        assert "Nothing was published." in said
        assert "**1 stop it**: CVE-2099-0001 in fastapi 0.1" in said

    def test_a_run_without_a_scan(self, tmp_path: Path) -> None:
        write(tmp_path / "report-amd64/facts.json", FACTS)
        assert "not scanned" in summary(tmp_path)

    def test_a_run_that_came_to_nothing(self, tmp_path: Path) -> None:
        assert summary(tmp_path) == "Nothing was published.\n"
