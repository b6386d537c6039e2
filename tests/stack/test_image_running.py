"""The production image while it runs, under the narrowest rights that Docker can give."""

import json
import logging
import re
import statistics
from functools import partial

from python_on_whales import DockerClient

from tests.polling import until
from tests.stack.images import ONE, Images
from tests.stack.source import run
from tests.stack.stack import Stack, execute, is_ready

log = logging.getLogger("image")

LIMIT = 0.050  # seconds of CPU for one health check
MORE = 1.1  # times the memory of the least service of the same packages
LEAST = [
    *["gunicorn", "--config=/dev/null", "--worker-class=uvicorn_worker.UvicornWorker"],
    *["--bind=0.0.0.0:8000", "baseline:app"],
]
# What all processes of a container hold for themselves. Without what a kernel keeps for them, which
# differs from one to the next.
HELD = """
import os, pathlib
kilobytes = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if int(process.name) != os.getpid():
        lines = (process / "smaps_rollup").read_text().splitlines()
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
print(1024 * kilobytes)
"""
# Files that an installed package's RECORD lists and that are missing, or not as they were built.
CHANGED = """
import base64, csv, hashlib, importlib.metadata
def is_built(dist, name, digest):
    path = dist.locate_file(name)
    if not (digest and path.is_file()):
        return path.is_file() or name.endswith(".pyc")
    kind, _, value = digest.partition("=")
    found = hashlib.new(kind, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(found).decode().rstrip("=") == value
print([name for dist in importlib.metadata.distributions()
       for name, digest, _ in csv.reader(dist.read_text("RECORD").splitlines())
       if not is_built(dist, name, digest)])
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


class TestPackages:
    """What is listed as installed is there, and nothing is left that could install more."""

    def test_each_file_is_there(self, docker: DockerClient, images: Images) -> None:
        assert docker.run(images.name(ONE), ["python", "-c", CHANGED], remove=True) == "[]"

    def test_no_trace_of_pip(self, docker: DockerClient, images: Images) -> None:
        look = "find / -xdev -iname '*pip' -o -iname 'pip[-0-9]*' -o -name ensurepip"
        said = docker.run(images.name(ONE), ["sh", "-c", look], remove=True, user="0")
        assert said == ""


class TestMemory:
    """An idle app holds at most 10 % more than the least service of the same packages."""

    def test_beside_the_least(self, stack: Stack, images: Images) -> None:
        with (
            stack.beside(images.name(ONE)) as ours,
            stack.beside(images.name(ONE), *LEAST) as least,
        ):
            for container in (ours, least):
                until(partial(is_ready, container), within=30)
            held = [int(execute(container, "python", "-c", HELD)) for container in (ours, least)]
        log.info("memory: %.1f MB, the least service's %.1f MB", *(size / 1e6 for size in held))
        assert held[0] <= MORE * held[1]


class TestHealthcheck:
    """A probe costs less than 50 ms of CPU, asked of the running service."""

    def test_cost(self, stack: Stack) -> None:
        for service in ("app", "worker"):
            assert cpu_of_probe(stack, service) < LIMIT


def cpu_of_probe(stack: Stack, service: str) -> float:
    """Return the seconds of CPU that a container's health check takes."""
    probe = stack.containers(service)[0].config.healthcheck
    assert probe is not None
    assert probe.test is not None
    times: list[float] = json.loads(stack.run_in(service, "python", "-c", TIMES, *probe.test[1:]))
    return statistics.median(times)


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
