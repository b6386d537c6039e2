"""The lock files name the command that makes them, in the one form that Renovate can run."""

import re
import shlex

import pytest

from template import ROOT

LOCKS = sorted(
    str(path.relative_to(ROOT))
    for folder in (ROOT, ROOT / "template")
    for path in folder.glob("requirements*.txt")
)
HOST = re.compile(r"://|--(index-url|extra-index-url|find-links)")
# Those of `uv pip compile` that Renovate takes; it refuses a file whose command has another.
KNOWN = {
    "--universal",
    "--generate-hashes",
    "--python-version",
    "--group",
    "--constraints",
    "--output-file",
}


@pytest.mark.parametrize("name", LOCKS)
class TestLocks:
    def test_it_names_no_host(self, name: str) -> None:
        assert not HOST.search((ROOT / name).read_text())

    def test_renovate_can_run_it(self, name: str) -> None:
        head = (ROOT / name).read_text().splitlines()[1]
        words = shlex.split(head.removeprefix("#"))
        assert words[:3] == ["uv", "pip", "compile"]
        assert f"--output-file={name}" in words
        assert (ROOT / words[-1]).is_file()
        assert {word.partition("=")[0] for word in words[3:-1]} <= KNOWN
