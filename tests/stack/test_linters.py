"""Linters find nothing in what builds, runs and publishes images. Each exception has its reason."""

from pathlib import Path

from tests.stack.images import ONE, Images
from tests.stack.source import ROOT, run


def shell_scripts() -> list[str]:
    files = [path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file()]
    heads = [(path, path.read_text(errors="replace").split("\n", 1)[0]) for path in files]
    return [str(path) for path, head in heads if head.endswith(("bash", "sh", "shell=bash"))]


class TestLinters:
    def test_hadolint(self) -> None:
        run(["hadolint", "Dockerfile", ".devcontainer/Dockerfile"], cwd=ROOT)

    def test_trivy(self, source: Path) -> None:
        ignored = ["--ignorefile", ".trivyignore.yaml"]
        run(["trivy", "config", "--quiet", "--exit-code", "1", *ignored, "."], cwd=source)

    def test_dclint(self, source: Path) -> None:
        run(["npx", "--yes", "dclint@3.1.0", "--max-warnings", "0", "."], cwd=source)

    def test_structure(self, images: Images) -> None:
        config = "deploy/container-structure-test.yaml"
        command = ["container-structure-test", "test", "--image", images.name(ONE)]
        run([*command, "--config", config], cwd=ROOT)

    def test_actionlint(self) -> None:
        # Runs shellcheck on every step as well.
        run(["actionlint", "-shellcheck", "shellcheck"], cwd=ROOT)

    def test_zizmor(self) -> None:
        run(["zizmor", "--offline", "--quiet", "--persona", "pedantic", ".github"], cwd=ROOT)

    def test_shellcheck(self) -> None:
        scripts = shell_scripts()
        assert len(scripts) > 15
        run(["shellcheck", "--external-sources", *scripts], cwd=ROOT)
