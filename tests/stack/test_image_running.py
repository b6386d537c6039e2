"""The production image while it runs: its rights, bytecode and packages, and no secret."""

import pytest
from python_on_whales import DockerClient

from tests.stack.images import ONE, Images
from tests.stack.source import run
from tests.stack.stack import Stack, rights

# Prints whether the service's modules were imported, and those that Python had to compile.
COMPILED = """
import importlib.machinery, sys
compiled, loader = [], importlib.machinery.SourceFileLoader
compile_source = loader.source_to_code
def record(self, data, path, **options):
    compiled.append(path)
    return compile_source(self, data, path, **options)
loader.source_to_code = record
import app.main, app.worker, app.cli
print(len(sys.modules) > 300, compiled)
"""
DEVELOPMENT = ("pytest", "mypy", "ruff", "debugpy", "coverage", "watchfiles")
LOADABLE = f"print([name for name in {DEVELOPMENT} if u.find_spec(name)])".replace("'", '"')
# Prints the files of a package's RECORD that are missing or changed.
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


class TestRights:
    """The service runs as 10001, without a capability, and can write nothing but /tmp."""

    def test_no_file_can_be_written(self, docker: DockerClient, images: Images) -> None:
        # Here the root file system is not read-only, as it is under Compose.
        look = "id -u; find / -xdev -writable -type f 2>/dev/null; true"
        assert docker.run(images.name(ONE), ["sh", "-c", look], remove=True) == "10001"

    def test_no_program_runs_with_the_rights_of_its_owner(
        self, docker: DockerClient, images: Images
    ) -> None:
        look = ["find", "/", "-xdev", "-type", "f", "-perm", "/6000"]
        assert docker.run(images.name(ONE), look, user="0", remove=True) == ""

    @pytest.mark.parametrize("service", ["app", "worker"])
    def test_processes_have_no_capability(self, stack: Stack, service: str) -> None:
        assert [str(path) for path in stack.container(service).host_config.tmpfs or {}] == ["/tmp"]
        assert rights(stack.container(service), "Cap.*") == {"10001", "0" * 16}


class TestBytecode:
    """The build compiles everything: a start compiles nothing and compares nothing."""

    def test_no_module_is_compiled_at_the_start(self, docker: DockerClient, images: Images) -> None:
        said = docker.run(images.name(ONE), ["python", "-c", COMPILED], remove=True)
        assert said == "True []"

    def test_no_source_file_is_checked(self, docker: DockerClient, images: Images) -> None:
        # The flags of PEP 552: 1 is "hash-based, and never compared with the source".
        look = (
            "import os, pathlib; roots = '/srv', '/opt/venv', os.path.dirname(os.__file__); "
            "print({path.read_bytes()[4:8].hex() for root in roots "
            "for path in pathlib.Path(root).rglob('*.pyc')})"
        )
        assert docker.run(images.name(ONE), ["python", "-c", look], remove=True) == "{'01000000'}"


class TestContents:
    """Packages are whole, and nothing in the image installs, compiles or tests."""

    def test_each_file_of_a_package_is_there(self, docker: DockerClient, images: Images) -> None:
        assert docker.run(images.name(ONE), ["python", "-c", CHANGED], remove=True) == "[]"

    def test_what_is_not_there(self, docker: DockerClient, images: Images) -> None:
        look = (
            "find / -xdev -iname '*pip' -o -iname 'pip[-0-9]*' -o -name ensurepip; "
            "ls -d /srv/tests /srv/dev /run/secrets/* 2>/dev/null; "
            f"command -v gcc cc make ld git uv {' '.join(DEVELOPMENT)}; "
            f"python -c 'import importlib.util as u; {LOADABLE}'"
        )
        said = docker.run(images.name(ONE), ["sh", "-c", look], remove=True, user="0")
        assert said == "[]"


class TestSecrets:
    """Passwords are files: neither `docker inspect` nor a process list shows one."""

    def test_inspect_shows_none(self, stack: Stack) -> None:
        folder = stack.source / "secrets"
        values = [file.read_text() for file in folder.iterdir()]
        assert values
        for container in stack.docker.compose.ps(all=True):
            shown = run(["docker", "inspect", container.name], cwd=stack.source)
            shown += run(["docker", "top", container.name], cwd=stack.source, check=False)
            assert not [value for value in values if value in shown]
