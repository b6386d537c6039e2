"""The images under test: three versions that work and four that don't.

With STACK_IMAGE the tests take that image instead of building one. The pipeline gives a digest.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from python_on_whales import DockerClient

from app.infra.schema import list_revisions
from tests.stack.source import own_name, run, time_of_commit

ONE = "one"
TWO = "two"  # differs in nothing but its version
BROKEN = "broken"  # crashes at its start
SILENT = "silent"  # starts and never answers
WRONG = "wrong"  # answers, with 404 to everything
LAME = "lame"  # serves, and its worker crashes
NEWER = "newer"  # has one more migration: the table `notes`, which refers to tokens

GIVEN = os.environ.get("STACK_IMAGE", "")
# Compose reads these too, and would take another image than the one under test.
for variable in ("APP_IMAGE", "TAG", "GIT_SHA"):
    os.environ.pop(variable, None)

NOTES = f"""
from alembic import op

revision = "9999"
down_revision = "{list_revisions()[-1]}"
branch_labels = depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE notes (token uuid NOT NULL REFERENCES tokens ON DELETE CASCADE)")
"""
FAULTS = (BROKEN, SILENT, WRONG, LAME)
CHANGES = {
    TWO: f"ENV GIT_SHA=sha-of-{TWO}\nLABEL org.opencontainers.image.revision=sha-of-{TWO}",
    BROKEN: """CMD ["python", "-c", "raise SystemExit('the engine room is flooded')"]""",
    SILENT: """CMD ["sleep", "infinity"]""",
    WRONG: """CMD ["python", "-m", "http.server", "8000", "--directory", "/tmp"]""",
    # Python runs the bytecode and does not look at its source, so the bytecode has to go.
    LAME: """USER 0
RUN rm app/__pycache__/worker.* && echo "raise SystemExit('the stoker is asleep')" > app/worker.py
USER 10001:10001""",
    NEWER: f"""ENV GIT_SHA=sha-of-{NEWER}
LABEL org.opencontainers.image.revision=sha-of-{NEWER}
COPY --chmod=644 <<NOTES migrations/versions/29990101_9999_notes.py
{NOTES}
NOTES""",
}


@dataclass(frozen=True)
class Images:
    repository: str
    source: Path

    def name(self, tag: str) -> str:
        return f"{self.repository}:{tag}"

    def build(self, tag: str, *options: str, version: str = "") -> str:
        """Build this commit as `make image` does; return the image's id."""
        environment = {
            "APP_IMAGE": self.repository,
            "TAG": tag,
            "GIT_SHA": version or f"sha-of-{tag}",
            "SOURCE_DATE_EPOCH": time_of_commit(),
        }
        command = ["deploy/build", "--quiet", *options]
        return run(command, cwd=self.source, env=environment).strip()

    def derive(self, tag: str) -> None:
        """Build a tag on top of the first one."""
        lines = f"FROM {self.name(ONE)}\n{CHANGES[tag]}\n"
        folder = self.source.parent / f"{self.source.name}-{tag}"
        folder.mkdir()
        (folder / "Dockerfile").write_text(lines)
        run(["docker", "build", "--quiet", "--tag", self.name(tag), "."], cwd=folder)

    def version(self, tag: str) -> str:
        """Return the commit in an image's label."""
        return self.inspect(tag, '{{index .Config.Labels "org.opencontainers.image.revision"}}')

    def id(self, tag: str) -> str:
        return self.inspect(tag, "{{.Id}}")

    def inspect(self, tag: str, words: str) -> str:
        command = ["docker", "inspect", "--format", words, self.name(tag)]
        return run(command, cwd=self.source).strip()


def names_in(docker: DockerClient, repository: str) -> list[str]:
    """Return the names that images have in a repository.

    An image can have names elsewhere too: another run of the tests builds the same bytes.
    """
    found = docker.image.list(repository)
    names = [name for image in found for name in (*image.repo_tags, *image.repo_digests)]
    return [name for name in names if name.startswith((f"{repository}:", f"{repository}@"))]


@contextmanager
def built_images(docker: DockerClient, source: Path) -> Iterator[Images]:
    images = Images(own_name(), source)
    try:
        if GIVEN:
            docker.image.pull(GIVEN, quiet=True)
            docker.image.tag(GIVEN, images.name(ONE))
            images.derive(TWO)
        else:
            images.build(ONE)
            images.build(TWO)
        yield images
    finally:
        if GIVEN and docker.image.exists(GIVEN):
            docker.image.remove(GIVEN, force=True)
        docker.image.remove(names_in(docker, images.repository), force=True)
