"""gunicorn's supervisor: what it says, what it refuses and what it does without."""

import json
import logging
import os
import subprocess
import sys
from itertools import product

import pytest

from app.config import Settings
from app.server import JsonLines, load_app, supervisor_logging
from tests.live import ROOT
from tests.test_config import make

# The configuration is read as gunicorn does; what of these was imported then is printed.
HEAVY = ("asyncio", "fastapi", "pydantic", "sqlalchemy", "structlog", "uvicorn")
LOOK = """
import runpy, sys
runpy.run_path("gunicorn.conf.py")
import app.server
print(*sorted(set(sys.argv[1:]) & set(sys.modules)))
"""
# SAQ comes with the first job; the others are of commands and of the supervisor.
LATER = ("alembic", "croniter", "gunicorn", "saq")
LOOK_AT_WEB = """
import sys
import app.main
print(*sorted(set(sys.argv[1:]) & set(sys.modules)))
"""


def look(code: str, *names: str) -> list[str]:
    command = [sys.executable, "-c", code, *names]
    return subprocess.run(
        command, check=True, cwd=ROOT, capture_output=True, text=True
    ).stdout.split()


class TestImports:
    """Each process imports what it needs: a package that is imported is memory held for good."""

    def test_the_supervisor_does_without_the_application(self) -> None:
        assert look(LOOK, "gunicorn", *HEAVY) == ["gunicorn"]

    def test_the_web_side_does_without_what_comes_later(self) -> None:
        assert look(LOOK_AT_WEB, "fastapi", *LATER) == ["fastapi"]


class TestRefusal:
    """Settings that can't be used: one message that names each fault, no retries, no traceback."""

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_gunicorn_ends(self, workers: str) -> None:
        unset = {"DATABASE_URL", "REDIS_URL", "SHUTDOWN_GRACE"}
        environment = {name: os.environ[name] for name in os.environ if name not in unset}
        environment |= {"ENVIRONMENT": "production", "WEB_CONCURRENCY": workers}
        environment |= {"SHUTDOWN_GRACE": "soon"}
        done = subprocess.run(
            [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0"],
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 4
        head, *faults, _ = done.stderr.splitlines()
        assert head == "Drydock can't start: 3 setting(s) need attention."
        assert [fault.split(":")[0].strip() for fault in faults] == [
            "DATABASE_URL",
            "REDIS_URL",
            "SHUTDOWN_GRACE",
        ]
        events = [json.loads(line) for line in done.stdout.splitlines()]
        starts = [event for event in events if event["event"].startswith("Booting worker")]
        # Several workers share an application that is loaded, and refused, before them.
        assert len(starts) == (1 if workers == "1" else 0)

    def test_the_code_is_the_one_that_gunicorn_gives_up_at(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("DATABASE_URL", raising=False)
        with pytest.raises(SystemExit) as ended:
            load_app()
        assert ended.value.code == 4
        assert "DATABASE_URL: is not set" in capsys.readouterr().err


class TestLogging:
    """The supervisor's lines have the form of the service's, though it reads no Settings."""

    @pytest.mark.parametrize(
        ("environment", "form"),
        list(product(["development", "production"], ["auto", "json", "console"])),
    )
    def test_the_form(self, environment: str, form: str) -> None:
        settings: Settings = make(environment="development", log_format=form)
        settings = settings.model_copy(update={"environment": environment})
        variables = {"ENVIRONMENT": environment, "LOG_FORMAT": form}
        formatter = supervisor_logging(variables)["handlers"]["stdout"]["formatter"]
        assert formatter == ("json" if settings.json_logs else "console")

    def test_an_exception_is_in_the_line(self) -> None:
        formatter = JsonLines()
        record = logging.makeLogRecord({"msg": "sank %s times", "args": (3,), "name": "gunicorn"})
        record.levelname = "ERROR"
        error = LookupError("no such berth")
        record.exc_info = (LookupError, error, None)
        line = json.loads(formatter.format(record))
        assert (line["event"], line["level"], line["logger"]) == (
            "sank 3 times",
            "error",
            "gunicorn",
        )
        assert "LookupError: no such berth" in line["exception"]
        assert line["timestamp"].endswith("Z")
