"""deploy/pipeline/check-previous: a migration may not break the version before."""

import os
import subprocess
from pathlib import Path

import pytest

from app.infra.schema import list_revisions
from template import ROOT
from tests.stack.source import copy_of_repository, run

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.com")
# Of the tests of the version before, those of one table are enough here.
SOME = "tests/features/tokens/test_tokens.py"
MIGRATION = """
from alembic import op
revision = "9999"
down_revision = "{newest}"
def upgrade() -> None:
    op.execute("{statement}")
def downgrade() -> None:
    raise NotImplementedError
"""
FILE = "migrations/versions/29990101_9999_later.py"


class Repository:
    """A copy of this repository with a history of its own, and the packages of this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = copy_of_repository(folder)
        self.git("init", "--quiet", "--initial-branch=main")
        (self.folder / ".venv").symlink_to(ROOT / ".venv")
        (self.folder / ".git/info/exclude").write_text(".venv\n")

    def git(self, *words: str) -> str:
        return run(["git", *IDENTITY, *words], cwd=self.folder).strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "Go on")
        return self.git("rev-parse", "HEAD")

    def migrate(self, statement: str) -> None:
        text = MIGRATION.format(newest=list_revisions()[-1], statement=statement)
        (self.folder / FILE).write_text(text)

    def check(self, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            ["deploy/pipeline/check-previous"],
            cwd=self.folder,
            env={**os.environ, "PREVIOUS": "", "T": SOME, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "copy")


class TestMigration:
    """The tests of the version before decide."""

    @pytest.mark.timeout(400)
    def test_one_that_adds_and_one_that_drops(self, repository: Repository) -> None:
        before = repository.commit()
        repository.migrate("ALTER TABLE tokens ADD COLUMN extra text")
        code, said = repository.check()
        assert code == 0, said
        assert f"Running the tests of {before}" in said
        assert "passed" in said
        repository.migrate("ALTER TABLE tokens DROP COLUMN last_used_at")
        repository.commit()
        code, said = repository.check()
        assert code == 1
        assert "failed" in said
        assert f"A migration breaks {before}" in said


class TestVersionBefore:
    """It is the newest release, or the commit where the branch began, or the commit before."""

    def test_without_a_new_migration_nothing_runs(self, repository: Repository) -> None:
        def says(before: str) -> None:
            assert repository.check() == (0, f"No migration is newer than {before}.\n")

        first = repository.commit()
        second = repository.commit()
        says(first)
        repository.git("switch", "--quiet", "--create", "branch")
        repository.commit()
        repository.commit()
        says(second)
        repository.git("tag", "v1.0.0", first)
        says("v1.0.0")

    def test_in_a_folder_beside_another_service(self, repository: Repository) -> None:
        (repository.folder / ".git").rename(repository.folder.parent / ".git")
        before = repository.commit()
        repository.commit()
        assert repository.check() == (0, f"No migration is newer than {before}.\n")
        repository.migrate("SELECT 1")
        code, said = repository.check(T="--collect-only -q tests/test_printable.py")
        assert code == 0, said
        assert "tests/test_printable.py" in said


class TestSkipped:
    """Where there is no version before, a notice says so."""

    def skipped(self, repository: Repository, why: str, **environment: str) -> None:
        code, said = repository.check(**environment)
        assert code == 0
        assert said.startswith("Did not check that the migrations")
        assert why in said

    def test_without_history(self, repository: Repository) -> None:
        self.skipped(repository, "no history of git")
        repository.commit()
        self.skipped(repository, "fetch-depth: 0")

    def test_a_shallow_clone_fails_in_ci(self, repository: Repository) -> None:
        repository.commit()
        repository.commit()
        origin = repository.folder.rename(repository.folder.with_name("origin"))
        command = ["git", "clone", "--quiet", "--depth=1", origin.as_uri(), str(repository.folder)]
        run(command, cwd=origin)
        self.skipped(repository, "fetch-depth: 0", CI="")
        code, said = repository.check(CI="true")
        assert code == 1
        assert "fetch-depth: 0" in said

    def test_behind_init(self, repository: Repository) -> None:
        commit = repository.commit()
        project = repository.folder / "pyproject.toml"
        project.write_text(project.read_text().replace('name = "', 'name = "other', 1))
        repository.commit()
        self.skipped(repository, f"{commit} is no version of this service")

    def test_a_removed_migration(self, repository: Repository) -> None:
        repository.migrate("SELECT 1")
        repository.commit()
        (repository.folder / FILE).unlink()
        (repository.folder / FILE.replace("9999", "9998")).write_text("")
        self.skipped(repository, "were removed since")
