"""Linters find nothing in what builds, runs and publishes images. Each exception has its reason."""

import pytest

from tests.stack.source import ROOT, run


def shell_scripts() -> list[str]:
    files = [path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file()]
    heads = [(path, path.read_text(errors="replace").split("\n", 1)[0]) for path in files]
    return [str(path) for path, head in heads if head.endswith(("bash", "sh", "shell=bash"))]


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "Dockerfile", "Dockerfile.dev", ".devcontainer/Dockerfile"],
        ["actionlint", "-shellcheck", "shellcheck"],
        ["zizmor", "--offline", "--quiet", "--persona", "pedantic", ".github"],
        ["shellcheck", "--external-sources", *shell_scripts()],
    ],
    ids=lambda command: command[0],
)
def test_linter(command: list[str]) -> None:
    run(command, cwd=ROOT)
