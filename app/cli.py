"""`python -m app …`: the commands for operators and scripts."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.config import ConfigurationError, Settings
from app.errors import AppError, fault_message
from app.features.tokens.schemas import TokenCreate
from app.features.tokens.scopes import declared_scopes
from app.features.tokens.service import create_token
from app.infra.db import make_engine, make_sessions, transaction
from app.infra.schema import PROJECT, list_revisions
from app.jobs import LONGEST_REASON, change_job, explain, load_jobs, show_jobs
from app.printable import printable
from app.registry import FEATURES, load_settings

REFUSED_BY_POSTGRES = """\
Postgres refuses the password in DATABASE_PASSWORD, DATABASE_URL or the secret database_password.
In the stack, the service `roles` gives Postgres the passwords of the secret files. Run it again:
  docker compose run --rm --no-deps roles    (in production: deploy/roles)
For another server, see deploy/postgres/roles.sql.\
"""


NEWER_SCHEMA = """\
{error}: a newer version of this code has migrated the database, and ACCEPT_NEWER_SCHEMA is false.
Deploy that version. If its migrations leave this version working, set ACCEPT_NEWER_SCHEMA=true.\
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    code: int = options.run(settings, options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app", description="Run and operate Drydock.")
    commands = parser.add_subparsers(required=True, metavar="command")

    migrate = commands.add_parser("migrate", help="bring the database's schema up to this code")
    migrate.add_argument(
        "--pending", action="store_true", help="only print which migrations are missing"
    )
    migrate.set_defaults(run=_migrate)
    commands.add_parser("worker", help="run jobs until SIGTERM").set_defaults(run=_work)
    jobs = commands.add_parser("jobs", help="list jobs, run one again, or cancel one")
    change = jobs.add_mutually_exclusive_group()
    change.add_argument(
        "--retry", metavar="ID", type=_job_id, help="run a failed or cancelled one again"
    )
    change.add_argument(
        "--cancel",
        metavar="ID",
        type=_job_id,
        help="stop one that waits or runs, or put a failed one aside",
    )
    jobs.set_defaults(run=_jobs)
    commands.add_parser("openapi", help="print the OpenAPI document").set_defaults(run=_openapi)

    show = commands.add_parser("commands", help="print what to try in a terminal, a line each")
    show.add_argument("--url", help="where the service is; else PUBLIC_URL")
    show.add_argument("--token", default="$TOKEN", help="the token to show in them")
    show.set_defaults(run=_show_commands)

    token = commands.add_parser("token", help="manage tokens").add_subparsers(
        required=True, metavar="action"
    )
    known = declared_scopes()
    create = token.add_parser(
        "create",
        help="print a new token",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["scopes:", *(f"  {name:<20} {says}" for name, says in known.items())]),
    )
    create.add_argument("--name", required=True, help="who or what it is for")
    scopes = create.add_mutually_exclusive_group(required=True)
    scopes.add_argument(
        "--scope",
        action="append",
        choices=[*known],
        metavar="SCOPE",
        dest="scopes",
        help="what it allows; repeat it for several",
    )
    scopes.add_argument(
        "--all-scopes",
        action="store_const",
        const=[*known],
        dest="scopes",
        help="let it do everything",
    )
    create.add_argument("--expires-at", help="when it ends, such as 2030-01-31T00:00:00Z")
    create.set_defaults(run=_create_token)
    return parser


# Each command imports its own modules, so that the worker does not load Alembic.


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    try:
        settings = settings.for_migrations()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    if options.pending:
        print(*_pending(settings))
        return 0
    from alembic import command
    from alembic.config import Config
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    from app.infra.logs import configure_logging

    configure_logging(settings)  # the log names each revision that is applied
    config = Config(toml_file=PROJECT / "pyproject.toml")
    config.attributes["settings"] = settings
    try:
        command.upgrade(config, "head")
    except OperationalError as error:
        if "password authentication failed" not in str(error.orig):
            raise
        print(REFUSED_BY_POSTGRES, file=sys.stderr)
        return 1
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        if not settings.accept_newer_schema:
            print(NEWER_SCHEMA.format(error=error), file=sys.stderr)
            return 1
        print("The schema is newer than this code, so there is nothing to migrate.")
        return 0
    print(f"The schema is at {list_revisions()[-1]}.")
    return 0


def _pending(settings: Settings) -> list[str]:
    """The migrations that the database lacks. None, if a newer version has migrated it."""
    import psycopg

    revisions = list_revisions()
    with psycopg.connect(settings.database_dsn, connect_timeout=10) as connection:
        exists = connection.execute("SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL")
        if not exists.fetchall():
            return revisions
        found = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    if not found:
        return revisions
    return revisions[revisions.index(found[0]) + 1 :] if found[0] in revisions else []


def _work(settings: Settings, _options: argparse.Namespace) -> int:
    from app import worker

    worker.main(settings)
    return 0


def _job_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the id of a job: list the jobs to see their ids"
        ) from None


def _jobs(settings: Settings, options: argparse.Namespace) -> int:
    try:
        if options.retry is None and options.cancel is None:
            print(*show_jobs(*asyncio.run(load_jobs(settings))), sep="\n")
            return 0
        job = asyncio.run(change_job(settings, retry=options.retry, cancel=options.cancel))
    except (AppError, SQLAlchemyError, OSError) as error:
        reason = explain(error)
        if reason is None:
            raise
        print(reason, file=sys.stderr)
        return 1
    reason = printable(job.reason or "", most=LONGEST_REASON)
    print(f"{job.job} {job.id} is {job.state} now. {reason}".rstrip())
    return 0


def _openapi(settings: Settings, _options: argparse.Namespace) -> int:
    from app.infra.metrics import Metrics
    from app.main import create_api

    print(json.dumps(create_api(settings, Metrics(settings)).openapi(), indent=2))
    return 0


def _show_commands(settings: Settings, options: argparse.Namespace) -> int:
    for feature in FEATURES:
        for command in feature.commands:
            text = command.text.replace("{url}", options.url or settings.public_url)
            print(text.replace("$TOKEN", options.token))
    return 0


def _create_token(settings: Settings, options: argparse.Namespace) -> int:
    try:
        wanted = TokenCreate(
            name=options.name, scopes=options.scopes, expires_at=options.expires_at
        )
    except ValidationError as error:
        for fault in error.errors():
            option = str(fault["loc"][0]).replace("scopes", "scope").replace("_", "-")
            print(f"--{option}: {fault_message(fault)}", file=sys.stderr)
        return 2
    print(asyncio.run(_store_token(settings, wanted)))
    return 0


async def _store_token(settings: Settings, wanted: TokenCreate) -> str:
    engine = make_engine(settings, name="drydock-cli")
    try:
        async with transaction(make_sessions(engine)) as session:
            _, text = await create_token(
                session, name=wanted.name, scopes=wanted.scopes, expires_at=wanted.expires_at
            )
    finally:
        await engine.dispose()
    return text
