"""How gunicorn starts. tests/faults/test_shutdown.py shows how it stops."""

import json
import os
import subprocess
import sys

import pytest

from tests.live import ROOT


class TestBadSettings:
    """Unusable settings end gunicorn with one message. No worker is started again."""

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_the_message_names_each_setting(self, workers: str) -> None:
        unset = {"DATABASE_URL", "REDIS_URL", "SHUTDOWN_GRACE"}
        environment = {name: os.environ[name] for name in os.environ if name not in unset}
        environment |= {"ENVIRONMENT": "production", "WEB_CONCURRENCY": workers}
        environment |= {"SHUTDOWN_GRACE": "soon", "LOG_LEVEL": "info"}
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
        events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
        # Several workers are only started once the application is loaded.
        starts = [event for event in events if event.startswith("Booting worker")]
        assert len(starts) == (1 if workers == "1" else 0)
