"""Linters find nothing in what builds, runs and publishes images. Each exception has its reason."""

import platform
import shutil

import pytest

from tests.stack.source import ROOT, run

# The shell ignores the failure of a program in "$(…)", unless a variable gets its output. So a
# registry that does not answer would be an empty one, and an unreadable secret an empty password.
STRICT = {"SHELLCHECK_OPTS": "--enable=check-extra-masked-returns"}


def shell_scripts() -> list[str]:
    found = [path for top in ("deploy", "dev") for path in sorted((ROOT / top).rglob("*"))]
    files = [path for path in found if path.is_file()]
    heads = [(path, path.read_text(errors="replace").split("\n", 1)[0]) for path in files]
    return [str(path) for path, head in heads if head.endswith(("bash", "sh", "shell=bash"))]


@pytest.mark.parametrize(
    ("program", "words", "environment"),
    [
        ("hadolint", ["Dockerfile", "Dockerfile.dev", ".devcontainer/Dockerfile"], {}),
        ("actionlint", ["-shellcheck", "shellcheck"], STRICT),
        ("zizmor", ["--offline", "--quiet", "--persona", "pedantic", ".github"], {}),
        ("shellcheck", ["--external-sources", *shell_scripts()], STRICT),
    ],
    ids=["hadolint", "actionlint", "zizmor", "shellcheck"],
)
def test_linter(program: str, words: list[str], environment: dict[str, str]) -> None:
    here = shutil.which(program) and shutil.which("shellcheck")
    if platform.machine() != "x86_64" and not here:
        pytest.skip("there is no wheel for this machine: requirements-tools.in. amd64 runs it")
    run([program, *words], cwd=ROOT, env=environment)
