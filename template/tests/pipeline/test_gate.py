"""The gate stops fixable vulnerabilities, secrets, misconfigurations and images without a scan."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from template import ROOT
from template.tests.pipeline.scripts import Said, run_script

TODAY = datetime.now(UTC).date()


def vulnerability(**fields: str) -> dict[str, str]:
    planted = {
        "VulnerabilityID": "CVE-2099-0001",
        "PkgName": "fastapi",
        "InstalledVersion": "0.1",
        "FixedVersion": "0.2",
        "Severity": "HIGH",
    }
    return planted | fields


SECRET = {"RuleID": "github-pat", "Severity": "LOW", "Title": "GitHub token", "StartLine": 3}
WRONG = {
    "ID": "DS-0002",
    "Severity": "LOW",
    "Title": "runs as root",
    "Resolution": "add USER",
    "CauseMetadata": {"StartLine": 7},
}


class Scan:
    """Reports in a folder, of an image that is clean until something is planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database: dict[str, Any] = {
            "VulnerabilityDB": {"UpdatedAt": datetime.now(UTC).isoformat()}
        }
        self.packages: dict[str, Any] = {
            "Target": "Python",
            "Class": "lang-pkgs",
            "Packages": [{"Name": "fastapi"}],
        }
        self.system: dict[str, Any] = {
            "Target": "debian",
            "Class": "os-pkgs",
            "Packages": [{"Name": "dpkg"}],
        }
        self.interpreter: dict[str, Any] = {
            "Target": "usr/local/share/sbom/python.cdx.json",
            "Class": "lang-pkgs",
            "Type": "bitnami",
            "Packages": [{"Name": "python", "Version": "3.14.8"}],
        }
        self.control: dict[str, Any] = {"Vulnerabilities": [vulnerability()]}
        self.files: dict[str, Any] = {"Target": "Dockerfile", "Class": "config"}
        self.os: dict[str, Any] = {"Family": "debian"}
        self.exceptions = ""

    def judge(self) -> Said:
        results = [self.system, self.packages, self.interpreter]
        image = {"Metadata": {"OS": self.os}, "Results": results}
        (self.folder / "image.json").write_text(json.dumps(image))
        (self.folder / "config.json").write_text(json.dumps({"Results": [self.files]}))
        (self.folder / "database.json").write_text(json.dumps(self.database))
        (self.folder / "control.json").write_text(json.dumps({"Results": [self.control]}))
        (self.folder / "exceptions.yaml").write_text(self.exceptions)
        return run_script(
            "gate.py",
            *("--exceptions", self.folder / "exceptions.yaml"),
            *("--database", self.folder / "database.json"),
            *("--control", self.folder / "control.json"),
            *("--output", self.folder / "gate.json"),
            *("--reports", self.folder / "image.json", self.folder / "config.json"),
        )


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return Scan(tmp_path)


class TestFindings:
    """A fixable, severe finding stops the image. Other findings are reported."""

    def test_a_clean_image(self, scan: Scan) -> None:
        said = scan.judge()
        assert said.code == 0
        assert "2 packages and Python 3.14.8 looked at" in said.out

    @pytest.mark.parametrize(
        ("planted", "code"),
        [
            (vulnerability(), 1),
            (vulnerability(Severity="CRITICAL"), 1),
            (vulnerability(Severity="MEDIUM"), 0),
            (vulnerability(FixedVersion=""), 0),
        ],
    )
    def test_vulnerabilities(self, scan: Scan, planted: dict[str, str], code: int) -> None:
        scan.packages["Vulnerabilities"] = [planted]
        said = scan.judge()
        assert said.code == code
        assert ("BLOCKS" in said.out) == bool(code)
        assert "CVE-2099-0001" in said.out

    @pytest.mark.parametrize("severity", ["HIGH", "MEDIUM"])
    def test_the_interpreter(self, scan: Scan, severity: str) -> None:
        planted = vulnerability(PkgName="python", FixedVersion="3.14.9", Severity=severity)
        scan.interpreter["Vulnerabilities"] = [planted]
        said = scan.judge()
        assert said.code == (1 if severity == "HIGH" else 0)
        assert "fixed in 3.14.9" in said.out

    def test_what_debian_has_fixed(self, scan: Scan) -> None:
        planted = vulnerability(PkgName="openssl", FixedVersion="3.5.4-1~deb13u1")
        scan.system["Vulnerabilities"] = [planted]
        assert "openssl=3.5.4-1~deb13u1 in deploy/debian-updates.txt" in scan.judge().out

    def test_a_secret(self, scan: Scan) -> None:
        scan.system["Secrets"] = [SECRET]
        said = scan.judge()
        assert said.code == 1
        assert "BLOCKS secret  github-pat" in said.out

    def test_a_misconfiguration(self, scan: Scan) -> None:
        scan.files["Misconfigurations"] = [WRONG]
        said = scan.judge()
        assert said.code == 1
        assert "Dockerfile:7" in said.out

    def test_the_verdict_is_kept(self, scan: Scan) -> None:
        scan.packages["Vulnerabilities"] = [vulnerability()]
        scan.packages["ExperimentalModifiedFindings"] = [{"Type": "vulnerability"}]
        scan.judge()
        verdict = json.loads((scan.folder / "gate.json").read_text())
        assert (verdict["passed"], verdict["packages"], verdict["accepted"]) == (False, 2, 1)
        assert [found["id"] for found in verdict["findings"]] == ["CVE-2099-0001"]


class TestUnseen:
    """Without a complete scan the image does not pass, and the gate prints the reason."""

    def test_no_database(self, scan: Scan) -> None:
        scan.database = {"Version": "0.76.0"}
        self.assert_unknown(scan, "there is no vulnerability database")

    def test_an_old_database(self, scan: Scan) -> None:
        old = datetime.now(UTC) - timedelta(days=8)
        scan.database["VulnerabilityDB"]["UpdatedAt"] = old.isoformat()
        self.assert_unknown(scan, f"is of {old:%Y-%m-%d}")

    def test_nanoseconds(self, scan: Scan) -> None:
        scan.database["VulnerabilityDB"]["UpdatedAt"] = f"{TODAY}T00:00:00.123456789Z"
        assert scan.judge().code == 0

    @pytest.mark.parametrize("kind", ["system", "packages"])
    def test_no_packages(self, scan: Scan, kind: str) -> None:
        getattr(scan, kind)["Packages"] = []
        self.assert_unknown(scan, "no report lists any package of the kind")

    def test_no_interpreter(self, scan: Scan) -> None:
        scan.interpreter["Packages"] = []
        self.assert_unknown(scan, "no report lists the Python interpreter")

    def test_an_interpreter_that_the_database_does_not_know(self, scan: Scan) -> None:
        scan.control["Vulnerabilities"] = []
        self.assert_unknown(scan, "knows no vulnerability of any Python interpreter")

    def test_a_base_without_updates(self, scan: Scan) -> None:
        scan.os["EOSL"] = True
        self.assert_unknown(scan, "gets no security updates")

    @pytest.mark.parametrize("text", ["", "[]", "{"])
    def test_no_report(self, scan: Scan, text: str) -> None:
        scan.judge()
        report = scan.folder / "image.json"
        report.write_text(text)
        words = ("--exceptions", scan.folder / "exceptions.yaml", "--output", scan.folder / "out")
        database = ("--database", scan.folder / "database.json")
        control = ("--control", scan.folder / "control.json")
        said = run_script("gate.py", *words, *database, *control, "--reports", report)
        assert said.code == 2
        assert "NOT SCANNED" in said.err

    @staticmethod
    def assert_unknown(scan: Scan, reason: str) -> None:
        said = scan.judge()
        assert said.code == 2
        assert reason in said.err
        assert "a failure, not a pass" in said.err
        assert not (scan.folder / "gate.json").exists()


class TestExceptions:
    """An exception has a reason and a day on which it ends."""

    @pytest.mark.parametrize(
        ("statement", "until", "wrong"),
        [
            ("a reason", TODAY, ""),
            ("a reason", TODAY + timedelta(days=365), ""),
            ("", TODAY, "it has no reason"),
            ("  ", TODAY, "it has no reason"),
            ("a reason", "", "it has no date"),
            ("a reason", "soon", "it has no date"),
            ("a reason", TODAY - timedelta(days=1), "it ended on"),
            ("a reason", TODAY + timedelta(days=400), "it lasts until"),
        ],
    )
    def test_each(self, scan: Scan, statement: str, until: date | str, wrong: str) -> None:
        scan.exceptions = (
            "vulnerabilities:\n"
            f"  - id: CVE-2099-0001\n    statement: '{statement}'\n    expired_at: {until}\n"
        )
        said = scan.judge()
        assert said.code == (1 if wrong else 0)
        assert wrong in said.out
        assert ("BLOCKS exception  CVE-2099-0001" in said.out) == bool(wrong)

    def test_ours_are_sound(self, scan: Scan) -> None:
        own = ROOT / ".trivyignore.yaml"
        scan.exceptions = own.read_text()
        said = scan.judge()
        assert (said.code, said.out.count("BLOCKS")) == (0, 0)
