"""What the workflows need: a copy, a registry, a vulnerability database, and a file for notes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from python_on_whales import DockerClient

from template.tests.containers.trivy_database import Planted, write_database
from template.tests.pipeline.scripts import stand_in
from template.tests.workflows.act import Run, run_workflow
from template.tests.workflows.clone import NAME, Clone
from tests.sockets import unused_port
from tests.stack.images import names_in
from tests.stack.registry import Registry, running_registry, stop_stage

# A fake gh. It has no issues and no releases. It keeps the status of each commit in a file.
GH = """case "$*" in
  "api --silent repos/"*)
    last="${@: -1}"
    echo "${last#description=}" >"$ARTIFACTS/status-$(basename "$3")"
    exit
    ;;
  "api repos/"*) cat "$ARTIFACTS/status-$(basename "${2%/statuses*}")" 2>/dev/null; exit 0 ;;
esac
echo "gh $*" >>"$NOTES"
case "$1 $2" in
  "issue list") echo "[]" ;;
  "release view") exit 1 ;;
esac"""


@dataclass
class Hub:
    """A fake GitHub: artifact store, variables, and notes of what was signed."""

    folder: Path
    clone: Clone
    registry: Registry
    private: bool = False
    address: str = ""  # of another registry, that does not answer
    planted: tuple[Planted, ...] = ()
    stage_port: int = field(default_factory=unused_port)

    name = NAME.lower()

    def run(self, workflow: str = "ci.yml", *, event: str = "push", **payload: Any) -> Run:
        (self.folder / "artifacts").mkdir(exist_ok=True)
        scanner = write_database(self.folder / "scanner", *self.planted)
        environment = {
            "ARTIFACTS": str(self.folder / "artifacts"),
            "NOTES": str(self.folder / "notes"),
            "STAGE_PORT": str(self.stage_port),
            "APP_IMAGE": f"drydock-test-{self.stage_port}",
            **scanner,
        }
        happened = {
            "ref": "refs/heads/main",
            "repository": {"private": self.private, "default_branch": "main"},
        }
        return run_workflow(
            self.clone.folder,
            workflow,
            event=event,
            payload=happened | payload,
            variables={
                "REGISTRY": self.address or self.registry.host,
                "ARCHITECTURES": '["amd64"]',
            },
            environment=environment,
            matrix={"python": "3.11"},
            programs=self.folder / "programs",
        )

    def record(self, commit: str) -> Path:
        """Return the file that has the digest which the pipeline noted at a commit."""
        return self.folder / f"artifacts/status-{commit}"

    @property
    def notes(self) -> list[str]:
        """What the workflow would have signed, attested, uploaded or reported, in order."""
        file = self.folder / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def tags(self) -> dict[str, str]:
        return self.registry.tags(self.name)

    def stop(self) -> None:
        stop_stage(self.stage_port)


@pytest.fixture(scope="session")
def docker() -> DockerClient:
    return DockerClient()


@pytest.fixture(scope="module")
def hub(docker: DockerClient) -> Iterator[Hub]:
    # pytest's folders are closed to the account that runs the workflows.
    with TemporaryDirectory(prefix="hub-") as name, running_registry(docker) as registry:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        hub = Hub(folder, Clone(folder), registry)
        stand_in(folder / "programs", "gh", GH)
        stand_in(folder / "programs", "sudo", "exit 0")  # installs programs; the runner has them
        yield hub
        hub.stop()
        repositories = f"drydock-test-{hub.stage_port}", f"{registry.host}/{hub.name}"
        mine = [name for repository in repositories for name in names_in(docker, repository)]
        docker.image.remove(mine, force=True)
