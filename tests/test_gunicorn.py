"""gunicorn.conf.py: how gunicorn starts. tests/faults/test_shutdown.py shows how it stops."""

import os
import subprocess
import sys

from tests.live import ROOT


class TestBadSettings:
    """With unusable settings gunicorn prints one message, starts no worker and ends."""

    def test_the_message_names_each_setting(self) -> None:
        unset = {"DATABASE_URL", "REDIS_URL", "SHUTDOWN_GRACE"}
        environment = {name: os.environ[name] for name in os.environ if name not in unset}
        environment |= {"ENVIRONMENT": "production", "SHUTDOWN_GRACE": "soon"}
        done = subprocess.run(
            [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0"],
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stdout == ""
        head, *faults, _ = done.stderr.splitlines()
        assert head == "Drydock can't start: 3 setting(s) need attention."
        assert [fault.split(":")[0].strip() for fault in faults] == [
            "DATABASE_URL",
            "REDIS_URL",
            "SHUTDOWN_GRACE",
        ]
