"""The production image while it runs, under the narrowest rights that Docker can give."""

import json
import re
import statistics

from python_on_whales import DockerClient

from tests.stack.images import ONE, Images
from tests.stack.source import run
from tests.stack.stack import Stack

LIMIT = 0.050  # seconds of CPU for one health check
MEMORY = 85_000_000  # bytes that one worker and its supervisor may hold
HELD = """
import os, pathlib
kilobytes = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if int(process.name) != os.getpid():
        lines = (process / "smaps_rollup").read_text().splitlines()
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
print(1024 * kilobytes)
"""
TIMES = """
import json, os, subprocess, sys
times = []
for _ in range(9):
    child = subprocess.Popen(sys.argv[1:])
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, status
    times.append(usage.ru_utime + usage.ru_stime)
print(json.dumps(times))
"""


class TestRights:
    """The service runs as 10001 and can write nothing but /tmp."""

    def test_it_can_write_nothing_that_it_runs(self, docker: DockerClient, images: Images) -> None:
        # Even on a root file system that could be written to.
        look = "id -u; find / -xdev -writable -type f 2>/dev/null; true"
        assert docker.run(images.name(ONE), ["sh", "-c", look], remove=True) == "10001"

    def test_it_serves_with_a_read_only_root(self, stack: Stack) -> None:
        for service in ("app", "worker"):
            host = stack.containers(service)[0].host_config
            assert host.readonly_rootfs
            assert host.cap_drop == ["ALL"]
            assert not host.cap_add
            assert "no-new-privileges:true" in (host.security_opt or [])
            assert [str(path) for path in host.tmpfs or {}] == ["/tmp"]
            said = stack.run_in(service, "sh", "-c", "id -u; grep Cap /proc/self/status")
            assert re.findall(r"\w+$", said, re.MULTILINE) == ["10001", *["0" * 16] * 5]


class TestBytecode:
    """Everything is compiled at build: a start compiles and writes nothing."""

    def test_no_module_is_compiled_at_the_start(self, docker: DockerClient, images: Images) -> None:
        command = ["sh", "-c", "python -v -c 'import app.main, app.worker, app.cli' 2>&1"]
        said = str(docker.run(images.name(ONE), command, remove=True))
        origins = re.findall(r"# code object from '?([^'\n]+?)'?$", said, re.MULTILINE)
        assert len(origins) > 300
        assert [origin for origin in origins if not origin.endswith(".pyc")] == []

    def test_no_source_file_is_checked(self, docker: DockerClient, images: Images) -> None:
        # The flags of PEP 552: 1 is "hash-based, and never compared with the source".
        look = (
            "import os, pathlib; roots = '/srv', '/opt/venv', os.path.dirname(os.__file__); "
            "print({path.read_bytes()[4:8].hex() for root in roots "
            "for path in pathlib.Path(root).rglob('*.pyc')})"
        )
        assert docker.run(images.name(ONE), ["python", "-c", look], remove=True) == "{'01000000'}"

    def test_nothing_in_it_is_without(self, docker: DockerClient, images: Images) -> None:
        look = (
            "import importlib.util as u, itertools, pathlib; "
            "roots = pathlib.Path('app'), pathlib.Path('migrations'); "
            "files = itertools.chain(*(root.rglob('*.py') for root in roots)); "
            "print([str(f) for f in files if not pathlib.Path(u.cache_from_source(f)).exists()])"
        )
        assert docker.run(images.name(ONE), ["python", "-c", look], remove=True) == "[]"

    def test_only_ours_keeps_its_docstrings(self, docker: DockerClient, images: Images) -> None:
        # They are the API's documentation; those of packages are read elsewhere.
        look = (
            "import app.health, fastapi, logging; print(fastapi.FastAPI.__doc__, "
            "logging.Logger.__doc__, app.health.live.__doc__)"
        )
        said = str(docker.run(images.name(ONE), ["python", "-c", look], remove=True))
        assert said.startswith(". . The process answers.")


class TestMemory:
    """One worker and its supervisor hold less than 85 MB."""

    def test_what_is_their_own(self, stack: Stack) -> None:
        # Without what a kernel keeps for them, which differs: 1 to 4 MB in `docker stats`.
        held = int(stack.run_in("app", "python", "-c", HELD))
        assert MEMORY / 2 < held < MEMORY


class TestHealthcheck:
    """A probe costs less than 50 ms of CPU, asked of the running service."""

    def test_cost(self, stack: Stack) -> None:
        for service in ("app", "worker"):
            probe = stack.containers(service)[0].config.healthcheck
            assert probe is not None
            assert probe.test is not None
            said = stack.run_in(service, "python", "-c", TIMES, *probe.test[1:])
            assert statistics.median(json.loads(said)) < LIMIT


class TestSecrets:
    """Passwords are files: neither `docker inspect` nor a process list shows one."""

    def test_inspect_shows_none(self, stack: Stack) -> None:
        folder = stack.folder / "secrets"
        values = [file.read_text() for file in folder.iterdir()]
        assert len(values) == 2
        for container in stack.docker.compose.ps(all=True):
            shown = run(["docker", "inspect", container.name], cwd=stack.folder)
            shown += run(["docker", "top", container.name], cwd=stack.folder, check=False)
            assert not [value for value in values if value in shown]
