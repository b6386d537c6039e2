"""`python -m app …`: what an operator does by hand."""

import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import main
from app.config import Settings
from app.features.tokens.scopes import TOKENS_WRITE, declared_scopes
from app.infra.feature import Backlog, Command, Feature, Work
from app.infra.jobs import JobState, ShownJob
from app.infra.schema import list_revisions
from tests.kept import Kept
from tests.live import ROOT, as_owner, query
from tests.service import environment_for
from tests.sockets import unused_port, with_postgres_at

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def environment(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", own_settings.database_dsn)
    monkeypatch.setenv("REDIS_URL", own_settings.redis_dsn)


@pytest.fixture
def as_operator(
    environment: None,
    own_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", as_owner(own_settings).database_dsn)


@pytest.mark.usefixtures("as_operator")
class TestMigrate:
    """`migrate` brings a database's schema up to this code."""

    def test_an_empty_database_gets_the_schema(self, own_settings: Settings) -> None:
        needed = query(own_settings, "SELECT version_num FROM alembic_version")
        query(own_settings, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for _ in range(2):  # the second run changes nothing
            assert main(["migrate"]) == 0
        assert query(own_settings, "SELECT version_num FROM alembic_version") == needed
        assert query(own_settings, "SELECT count(*) FROM tokens") == [(0,)]

    def test_a_newer_schema_is_accepted_unless_it_is_refused(
        self,
        own_settings: Settings,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        query(own_settings, "UPDATE alembic_version SET version_num = '9999'")
        assert main(["migrate"]) == 0
        assert "The schema is newer than this code" in capsys.readouterr().out
        assert query(own_settings, "SELECT version_num FROM alembic_version") == [("9999",)]
        monkeypatch.setenv("ACCEPT_NEWER_SCHEMA", "false")
        assert main(["migrate"]) == 1
        told = capsys.readouterr()
        assert "'9999': a newer version of this code has migrated the database" in told.err
        assert "ACCEPT_NEWER_SCHEMA=true" in told.err

    @pytest.mark.parametrize(
        ("found", "missing"),
        [
            (None, list_revisions()),
            ("0001", list_revisions()[1:]),
            (list_revisions()[-1], []),
            ("9999", []),
        ],
    )
    def test_pending_lists_what_is_missing_and_changes_nothing(
        self,
        own_settings: Settings,
        capsys: pytest.CaptureFixture[str],
        found: str | None,
        missing: list[str],
    ) -> None:
        change = f"UPDATE alembic_version SET version_num = '{found}'"
        query(own_settings, change if found else "DELETE FROM alembic_version")
        assert main(["migrate", "--pending"]) == 0
        assert capsys.readouterr().out.split() == missing
        rows = query(own_settings, "SELECT version_num FROM alembic_version")
        assert rows == ([(found,)] if found else [])

    def test_pending_on_an_empty_database(
        self, own_settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        query(own_settings, "DROP TABLE alembic_version")
        assert main(["migrate", "--pending"]) == 0
        assert capsys.readouterr().out.split() == list_revisions()


class TestToken:
    """`token create` prints a token once, and stores what proves it."""

    def test_prints_the_token_and_nothing_else(
        self, own_settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["--name", "Ada's laptop", "--scope", TOKENS_WRITE]
        assert main(["token", "create", *arguments, "--expires-at", "2101-01-31T00:00Z"]) == 0
        prefix, token_id, secret = capsys.readouterr().out.rstrip("\n").split("_")
        columns = "name, scopes, hash, replace(id::text, '-', ''), expires_at::date::text"
        stored = query(own_settings, f"SELECT {columns} FROM tokens")
        assert prefix == "drydock"
        digest = hashlib.sha256(bytes.fromhex(secret)).digest()
        assert stored == [("Ada's laptop", [TOKENS_WRITE], digest, token_id, "2101-01-31")]

    @pytest.mark.parametrize(
        ("option", "value", "fault"),
        [
            ("--expires-at", "2001-01-01T00:00Z", "--expires-at: must lie in the future\n"),
            ("--expires-at", "tomorrow", "--expires-at: "),
            ("--name", " ", "--name: "),
        ],
    )
    def test_a_value_that_is_wrong_is_told_by_its_option(
        self,
        option: str,
        value: str,
        fault: str,
        own_settings: Settings,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        arguments = ["--name", "x", "--scope", TOKENS_WRITE, option, value]
        assert main(["token", "create", *arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(fault)
        assert query(own_settings, "SELECT count(*) FROM tokens") == [(0,)]

    def test_it_can_be_for_everything(
        self, own_settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["token", "create", "--name", "x", "--all-scopes"]) == 0
        assert query(own_settings, "SELECT scopes FROM tokens") == [(sorted(declared_scopes()),)]

    def test_without_a_database_it_fails_and_shows_no_password(
        self, own_settings: Settings
    ) -> None:
        away = with_postgres_at(own_settings, unused_port())
        done = subprocess.run(
            [sys.executable, "-m", "app", "token", "create", "--name", "x", "--all-scopes"],
            check=False,
            cwd=ROOT,
            env=environment_for(away.database_dsn, away.redis_dsn),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert "not-shown" not in done.stderr


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept = Kept()
    work = Work(backlog=kept.backlog, control=kept.control)
    monkeypatch.setattr("app.jobs.FEATURES", [Feature(name="films", work=work)])
    return kept


class TestJobs:
    """`jobs` lists the jobs of all features with their reasons, and changes one."""

    def test_the_list(self, kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
        failed = kept.add(1, reason="The disk \x1b[2J is full.")
        waiting = kept.add(2, JobState.QUEUED, attempts=0)
        assert main(["jobs"]) == 0
        head, first, second, *rest = capsys.readouterr().out.splitlines()
        assert head.split() == ["job", "state", "number", "oldest"]
        assert first.split()[:3] == ["render", "failed", "1"]
        assert re.fullmatch(r"0:01:0\d", first.split()[3])
        assert second.split()[:3] == ["render", "queued", "1"]
        assert rest[1].startswith(f"failed render {failed.id}, 0:01:0")
        assert rest[1].endswith(" old, 5 attempts without progress")
        assert rest[2] == "  The disk \\x1b[2J is full."
        assert rest[4].startswith(f"queued render {waiting.id}, ")
        assert "RETRY=ID" in rest[-1]
        assert "CANCEL=ID" in rest[-1]

    def test_without_a_feature_that_has_jobs(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("app.jobs.FEATURES", [Feature(name="films")])
        assert main(["jobs"]) == 0
        assert capsys.readouterr().out == "No job waits, runs or has failed.\n"

    def test_a_change(self, kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
        job = kept.add(1)
        assert main(["jobs", f"--cancel={job.id}"]) == 0
        assert capsys.readouterr().out == f"render {job.id} is cancelled now. Half of it stays.\n"
        assert main(["jobs", f"--retry={job.id}"]) == 0
        assert capsys.readouterr().out == f"render {job.id} is queued now.\n"
        assert main(["jobs", f"--retry={job.id}"]) == 1
        told = capsys.readouterr()
        assert (told.out, told.err) == (
            "",
            "This job is queued. Only a failed or cancelled job can run again.\n",
        )
        assert kept.done == ["cancel", "retry"]

    def test_an_unknown_id(self, kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["jobs", "--cancel", str(UUID(int=9))]) == 1
        assert "list the jobs to see their ids" in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["", "1", "x\x1b[2J", "$(id)", "'; DROP TABLE tokens; --"])
    def test_what_is_no_id_is_refused(
        self, kept: Kept, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["jobs", f"--retry={text}"])
        assert caught.value.code == 2
        told = capsys.readouterr().err
        assert "is not the id of a job: list the jobs to see their ids" in told
        assert "\x1b" not in told

    def test_an_older_schema_and_no_database_are_told(
        self,
        own_settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        async def count(session: AsyncSession) -> list[Backlog]:
            await session.execute(text("SELECT 1 FROM films"))
            return []

        films = Feature(name="films", work=Work(backlog=count))
        monkeypatch.setattr("app.jobs.FEATURES", [films])
        assert main(["jobs"]) == 1
        assert "migrate it first" in capsys.readouterr().err
        away = with_postgres_at(own_settings, unused_port())
        monkeypatch.setenv("DATABASE_URL", away.database_dsn)
        assert main(["jobs"]) == 1
        assert capsys.readouterr().err == "The database does not answer. Try again.\n"

    def test_the_reason_of_a_changed_one_can_not_steer_the_terminal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        job = ShownJob(UUID(int=1), "film", JobState.CANCELLED, datetime.now(UTC), 0, "a\x1b[2J")

        async def change(*_arguments: object, **_options: object) -> ShownJob:
            return job

        monkeypatch.setattr("app.cli.change_job", change)
        assert main(["jobs", f"--cancel={job.id}"]) == 0
        assert capsys.readouterr().out.endswith("a\\x1b[2J\n")


class TestCommands:
    """`commands` prints what the features suggest to try, ready to be pasted."""

    def test_they_work_with_what_is_given(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        feature = Feature(name="ships", commands=[Command("curl {url}/x -H '$TOKEN {}'", "Try")])
        monkeypatch.setattr("app.cli.FEATURES", [feature])
        assert main(["commands", "--url", "http://ship", "--token", "secret"]) == 0
        assert capsys.readouterr().out == "curl http://ship/x -H 'secret {}'\n"


class TestOpenapi:
    """`openapi` prints the document that /openapi.json serves."""

    def test_it_is_one_json_document(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["openapi"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["info"]["title"] == "Drydock"
        assert "/health" in document["paths"]


class TestUsage:
    """A command that is missing or unknown is wrong usage."""

    @pytest.mark.parametrize(
        "arguments", ["", "serve", "token", "token create", "token create --name x --scope all"]
    )
    def test_exits_with_2(self, arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(arguments.split())
        assert caught.value.code == 2
        assert "usage: python -m app" in capsys.readouterr().err

    def test_faulty_settings_exit_with_2(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SHUTDOWN_GRACE", "soon")
        assert main(["openapi"]) == 2
        assert "SHUTDOWN_GRACE" in capsys.readouterr().err
