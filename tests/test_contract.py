"""The OpenAPI document and the service say the same, as far as schemathesis can tell."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.service import App

# Beside what it derives from the document itself: enough for 15 seconds on two cores.
EXAMPLES_AN_OPERATION = 10
# They refuse every id unless a request has made a job: not each service has such a request.
NEED_A_JOB = {"POST /api/v1/jobs/{job_id}/retry", "POST /api/v1/jobs/{job_id}/cancel"}


@pytest.fixture(scope="module")
def report(served: App, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What schemathesis found, all its phases and checks on. Fails with its output."""
    path = tmp_path_factory.mktemp("contract") / "report.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json"),
            f"--header=Authorization: Bearer {served.token}",
            *("--checks=all", "--continue-on-failure", "--generation-deterministic"),
            # Some rules can't be said in JSON Schema, such as "must lie in the future".
            "--exclude-checks=positive_data_acceptance",
            f"--max-examples={EXAMPLES_AN_OPERATION}",
            # Nothing made up here may lead a request to another host.
            "--max-redirects=0",
            *("--report=json", f"--report-json-path={path}", "--no-color"),
        ],
        check=False,
        cwd=path.parent,  # it keeps a folder of its own where it is started
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads(path.read_text())
    return found


class TestContract:
    """Every operation does what its document says, and nothing else."""

    def test_no_answer_contradicts_the_document(self, report: dict[str, Any]) -> None:
        operations, warnings = report["operations"], report["warnings"]
        assert operations["tested"] == operations["selected"] == operations["total"] > 0
        assert (report["failures"], report["errors"]) == ([], [])
        assert (warnings["unresolvable_reference"], warnings["missing_auth"]) == ([], [])

    def test_every_operation_accepted_something(self, report: dict[str, Any], served: App) -> None:
        """Some requests succeed. If all are refused, for a revoked token say, nothing is proven."""
        accepted = {
            operation
            for operation, phases in report["valid_rates"].items()
            if sum(phase["accepted"] for phase in phases.values())
        }
        assert accepted | NEED_A_JOB == report["valid_rates"].keys() | NEED_A_JOB
        assert len(report["valid_rates"]) == report["operations"]["total"]
        with served.client() as client:
            assert client.get("/api/v1/tokens").status_code == 200
