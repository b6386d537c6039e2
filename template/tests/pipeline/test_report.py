"""One issue reports what a scan of the published image found."""

import json
from pathlib import Path

import pytest

from template.tests.pipeline.machine import Machine

FOUND = {
    "kind": "vulnerability",
    "id": "CVE-2099-0001",
    "where": "fastapi 0.1",
    "severity": "HIGH",
    "remedy": "fixed in 0.2",
    "blocks": True,
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestReport:
    """One issue reports the findings. It changes only when they change."""

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
        said = machine.run("report.py", "reports")
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
        assert "Issue 7 is up to date." in self.report(machine, [issue])
        assert [call.split()[2] for call in machine.calls if call.startswith("gh")] == ["list"]

    def test_something_new(self, machine: Machine) -> None:
        self.report(machine, [])
        issue = {"number": 7, "title": self.TITLE, "body": self.body(machine)}
        machine.noted.unlink()
        self.report(machine, [issue], id="CVE-2099-0002")
        done = [call.split()[1:4] for call in machine.calls if call.startswith("gh")]
        assert done[1:] == [["issue", "edit", "7"], ["issue", "comment", "7"]]
