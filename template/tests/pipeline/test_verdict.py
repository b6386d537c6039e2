"""The one required job is green only if every job that had to run has passed."""

import json

import pytest

from template.tests.pipeline.scripts import Said, run_script

JOBS = ("plan", "check", "build", "containers", "scan", "code-scanning", "publish")


def verdict(*, main: bool, published: str = "", **results: str) -> Said:
    needs: dict[str, dict[str, object]] = {
        job: {"result": results.get(job.replace("-", "_"), "success"), "outputs": {}}
        for job in JOBS
    }
    needs["plan"]["outputs"] = {"published": published}
    return run_script("verdict.py", NEEDS=json.dumps(needs), MAIN="true" if main else "false")


class TestVerdict:
    @pytest.mark.parametrize("main", [True, False])
    def test_everything_passed(self, *, main: bool) -> None:
        assert verdict(main=main) == Said(0, "Everything passed.\n", "")

    def test_nothing_is_published_elsewhere(self) -> None:
        assert verdict(main=False, publish="skipped").code == 0
        assert verdict(main=True, publish="skipped").code == 1

    def test_what_is_published_is_not_built_again(self) -> None:
        skipped = dict.fromkeys(("build", "containers", "scan", "code_scanning"), "skipped")
        assert verdict(main=True, published="sha256:a", **skipped).code == 0
        assert verdict(main=True, **skipped).code == 1

    @pytest.mark.parametrize("job", JOBS)
    @pytest.mark.parametrize("result", ["failure", "cancelled"])
    def test_one_did_not(self, job: str, result: str) -> None:
        said = verdict(main=True, published="sha256:a", **{job.replace("-", "_"): result})
        assert said.code == 1
        assert said.err == f"{job}: {result}\n"

    def test_what_never_ran_has_not_passed(self) -> None:
        said = verdict(main=True, check="failure", build="skipped", publish="skipped")
        assert said.err.splitlines() == ["check: failure", "build: skipped", "publish: skipped"]
