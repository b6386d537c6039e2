"""What checks workflows and scripts finds nothing in ours."""

import pytest

from tests.stack.source import ROOT, run


def shell_scripts() -> list[str]:
    files = [path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file()]
    heads = [(path, path.read_text(errors="replace").split("\n", 1)[0]) for path in files]
    return [str(path) for path, head in heads if head.endswith(("bash", "sh", "shell=bash"))]


class TestLinters:
    def test_actionlint(self) -> None:
        # Runs shellcheck on every step as well.
        run(["actionlint", "-shellcheck", "shellcheck"], cwd=ROOT)

    @pytest.mark.parametrize("persona", ["pedantic"])
    def test_zizmor(self, persona: str) -> None:
        run(["zizmor", "--offline", "--quiet", "--persona", persona, ".github"], cwd=ROOT)

    def test_shellcheck(self) -> None:
        scripts = shell_scripts()
        assert len(scripts) > 15
        run(["shellcheck", "--external-sources", *scripts], cwd=ROOT)
