"""Production and development of one folder on one host: each command acts on its own stack only."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dev.stack import FOLDER, NAME, NAME_OF_ALL, claim_volume, claimed_by
from tests.polling import until
from tests.sockets import unused_port
from tests.stack.development import DEVELOPMENT
from tests.stack.images import ONE
from tests.stack.source import copy_of_repository, own_name, run
from tests.stack.stack import PATIENCE, Stack

pytestmark = pytest.mark.timeout(300)

STATE = (
    "{{.Id}} {{.State.StartedAt}} {{.State.Status}} {{.Config.Image}} "
    "{{json .HostConfig.PortBindings}}"
)
# Of development. Those that wait for input or print for ever end by themselves.
COMMANDS = ("psql", "migrate", "migration m=none", "redis-cli", "jobs", "logs", "shell", "down")
EXTRA = "compose.extra.yaml"
OF_PRODUCTION = ("prod", "deploy TAG=any", "rollback", "backup", "restore FILE=Makefile")


@dataclass
class Host:
    """One folder with both stacks."""

    production: Stack
    development: str
    environment: Mapping[str, str]

    def make(
        self,
        words: str,
        variables: Mapping[str, str] | None = None,
        *,
        given: str = "",
        folder: Path | None = None,
    ) -> str:
        """Run make, and return what it printed with its exit code at the end."""
        command = ["timeout", "--foreground", "20", "make", *words.split()]
        done = subprocess.run(
            [*command, f"PYTHON={sys.executable}"],
            cwd=folder or self.production.source,
            env={**os.environ, **self.environment, **(variables or {})},
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return f"{done.stdout}\nexit {done.returncode}"

    def state(self, name: str) -> list[str]:
        """All containers and volumes of a project: another start or port is another state."""
        mine = f"label=com.docker.compose.project={name}"
        containers = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", mine).split()
        volumes = docker("volume", "ls", "--filter", mine, "--format", "{{.Name}}").splitlines()
        shown = docker("inspect", "--format", STATE, *containers) if containers else ""
        return [*sorted(shown.splitlines()), *sorted(volumes)]

    def tables(self, name: str) -> str:
        database = f"{name}-db-1"
        return docker("exec", database, "psql", "-U", "drydock", "-At", "-c", r"\dt")


def docker(*words: str) -> str:
    return run(["docker", *words], cwd=Path("/"))


@pytest.fixture(scope="module")
def host(stack: Stack, dev_repository: str) -> Iterator[Host]:
    ports = ("PORT", "POSTGRES_PORT", "REDIS_PORT", "DEBUGGER_PORT")
    name = own_name()
    environment = {
        **stack.environment,
        NAME: name,
        "DEVELOPMENT_IMAGE": dev_repository,
        **{port: str(unused_port()) for port in ports},
    }
    try:
        yield Host(stack, name, environment)
    finally:
        down = ["down", "--volumes", "--remove-orphans", "--timeout", "1"]
        run(["docker", "compose", *down], cwd=stack.source, env=environment)
        docker("volume", "rm", "--force", claim_volume(name))


@pytest.fixture(scope="module")
def link(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another path to the folder."""
    link = tmp_path_factory.mktemp("link") / "a link"
    link.symlink_to(host.production.source)
    return link


@pytest.fixture(scope="class")
def running(host: Host, link: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """`make dev` beside production, and beside a service of the developer's own."""
    log = tmp_path_factory.mktemp("dev") / "log"
    (link / EXTRA).write_text(
        "services: {extra: {image: redis:8-alpine, networks: [back], init: true}}\n"
    )
    files = [word for name in (*DEVELOPMENT, EXTRA) for word in ("--file", name)]
    up = ["docker", "compose", *files, "up", "--detach", "extra"]
    run(up, cwd=link, env=host.environment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "dev", "RUNTIME=docker", f"PYTHON={sys.executable}"],
            cwd=link,
            env={**os.environ, **host.environment, "PWD": str(link)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        return httpx.get(f"http://127.0.0.1:{host.environment['PORT']}/health").is_success

    try:
        until(is_up, within=2 * PATIENCE)
        yield host
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def other(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another clone."""
    return copy_of_repository(tmp_path_factory.mktemp("other"), host.production.source)


class TestBoth:
    """Each command acts on its own stack. The other one keeps containers, ports and data."""

    def test_commands_of_development(self, running: Host, link: Path) -> None:
        host, production = running, running.production.name
        before, tables = host.state(production), host.tables(production)
        started = host.state(host.development)
        for folder, table in ((host.production.source, "of_development"), (link, "by_the_link")):
            create = f"CREATE TABLE {table} ()"
            assert "CREATE TABLE" in host.make("psql", given=create, folder=folder)
            assert table in host.tables(host.development)
        assert "OK" in host.make("redis-cli", given="set of development")
        assert "The schema is at" in host.make("migrate")
        assert "Generating" in host.make("migration m=beside")
        assert "seen from /srv" in host.make("shell", given='echo "seen from $(pwd)"')
        assert "drydock-web" in host.make("logs")
        assert f"{host.development} belongs to this clone" in host.make("doctor RUNTIME=docker")
        assert host.state(host.development) == started
        assert (host.state(production), host.tables(production)) == (before, tables)

    def test_commands_of_production(self, running: Host) -> None:
        before = running.state(running.development)
        assert running.make("backup").endswith("exit 0")
        for command in OF_PRODUCTION:
            said = running.make(command, {NAME_OF_ALL: running.development})
            assert f"{running.development} is the development stack of" in said
            assert not said.endswith("exit 0")
        assert running.state(running.development) == before

    def test_the_end_of_development(self, running: Host) -> None:
        """The last test with this stack: `down` keeps the data, and `clean-data` removes it."""
        host, production = running, running.production.name
        before, tables = host.state(production), host.tables(production)
        said = host.make("down")
        assert f"It leaves {production} alone, the production stack of this folder." in said
        volumes = [
            f"{host.development}_{volume}" for volume in ("clone", "db", "db_socket", "redis")
        ]
        extra, *left = host.state(host.development)
        assert " running " in extra
        assert left == volumes
        assert f"{host.development}_db" in host.make("clean-data YES=1")
        assert host.state(host.development) == [extra]
        assert (host.state(production), host.tables(production)) == (before, tables)


class TestSharedName:
    """COMPOSE_PROJECT_NAME wins over all names. No command of development then takes production."""

    @pytest.mark.parametrize("command", ["dev", *COMMANDS])
    def test_development_on_production(self, host: Host, command: str) -> None:
        name = host.production.name
        before = host.state(name)
        said = host.make(f"{command} RUNTIME=docker", {NAME_OF_ALL: name})
        assert f"{name} is the production stack of {host.production.source}" in said
        assert not said.endswith("exit 0")
        assert host.state(name) == before

    @pytest.mark.parametrize("variables", [{NAME_OF_ALL: ""}, {"COMPOSE_FILE": "compose.yaml"}])
    def test_clean_data(self, host: Host, variables: dict[str, str]) -> None:
        name = host.production.name
        before = host.state(name)
        variables = {key: value or name for key, value in variables.items()}
        assert "Data in containers stays: " in host.make("clean-data YES=1", variables)
        assert host.state(name) == before

    def test_doctor_offers_nothing_that_harms(self, host: Host) -> None:
        said = host.make("doctor RUNTIME=docker", {NAME_OF_ALL: host.production.name})
        assert f"{host.production.name} is the production stack of" in said
        assert not re.search("ALTER ROLE|--volumes|clean-data", said)

    @pytest.mark.parametrize(
        "command", ["psql", "migrate", "migration m=none", "redis-cli", "jobs"]
    )
    def test_no_embedded_server_starts_beside_production(self, host: Host, command: str) -> None:
        name = host.production.name
        for variables in ({}, {NAME_OF_ALL: name}, {"COMPOSE_FILE": "compose.yaml"}):
            said = host.make(command, {NAME: own_name(), **variables})
            assert "is for development, and this folder runs production" in said
            assert not said.endswith("exit 0")
        assert not (host.production.source / ".local").exists()


class TestOtherFolder:
    """The stacks of one clone are not those of another, whatever the names are."""

    @pytest.mark.parametrize("command", OF_PRODUCTION)
    def test_production(self, host: Host, other: Path, command: str) -> None:
        before = host.state(host.production.name)
        said = host.make(command, folder=other)
        assert f"is the production stack of {host.production.source}. Run the command there" in said
        assert host.state(host.production.name) == before

    def test_a_folder_that_is_not_there_may_be_on_a_disk_that_is_not_mounted(
        self, host: Host, other: Path
    ) -> None:
        away = host.production.source.with_name("away")
        host.production.source.rename(away)
        try:
            said = host.make("backup", folder=other)
        finally:
            away.rename(host.production.source)
        assert f"is the production stack of {host.production.source}. Run the command there" in said

    @pytest.mark.long
    def test_a_moved_folder(self, host: Host) -> None:
        here, environment = host.production.source, {**host.environment, "TAKEOVER": "yes"}
        moved = here.rename(here.with_name("moved"))
        up = ["deploy/compose", "up", "--detach", "--wait", "--no-build", "--force-recreate"]
        try:
            run(up, cwd=moved, env=environment)
            assert host.make("backup", folder=moved).endswith("exit 0")
        finally:
            moved.rename(here)
            run(up, cwd=here, env=environment)

    def test_a_take_over(self, host: Host, other: Path) -> None:
        assert host.make("backup", {"TAKEOVER": "yes"}, folder=other).endswith("exit 0")

    @pytest.mark.parametrize("missing", ["database_password", "redis_password"])
    def test_a_take_over_without_the_secrets(self, host: Host, other: Path, missing: str) -> None:
        """New passwords would lock the service out of its data."""
        name = host.production.name
        before = host.state(name)
        shutil.copytree(host.production.source / "secrets", other / "secrets", dirs_exist_ok=True)
        (other / "secrets" / missing).unlink()
        said = host.make(f"deploy TAG={ONE}", {"TAKEOVER": "yes"}, folder=other)
        assert f"secrets/{missing} is missing, and {name} has data. Copy secrets/" in said
        assert not (other / "secrets" / missing).exists()
        assert host.state(name) == before


CLAIM = """
import sys
from dev.stack import own_name
print(own_name(sys.argv[1], []))
"""


class TestClaim:
    """Of clones that choose a name at the same moment, one gets it, and the others another one."""

    def test_without_python(self, tmp_path: Path) -> None:
        """A clone whose containers were removed still has the name, until the clone is deleted."""
        name = own_name()
        first, second = (copy_of_repository(tmp_path / folder) for folder in ("first", "second"))
        claim = ["deploy/project", "--claim"]
        try:
            run(claim, cwd=first, env={NAME: name})
            said = run(claim, cwd=second, env={NAME: name}, check=False)
            assert f"{name} is the stack of {first}" in said
            run(claim, cwd=first, env={NAME: name})
            shutil.rmtree(first)
            run(claim, cwd=second, env={NAME: name})
            assert claimed_by(name) == second
        finally:
            docker("volume", "rm", claim_volume(name))

    @pytest.mark.parametrize("left_by", ["", "/gone"])
    def test_at_once(self, tmp_path: Path, left_by: str) -> None:
        name = own_name()
        if left_by:  # a clone that was deleted
            docker("volume", "create", "--label", f"{FOLDER}={left_by}", claim_volume(name))
        clones = [copy_of_repository(tmp_path / "a clone" / str(n)) for n in range(4)]
        environment = {key: text for key, text in os.environ.items() if key != NAME}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", CLAIM, name],
                cwd=clone,
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for clone in clones
        ]
        try:
            said = [process.communicate()[0] for process in started]
            chosen = {text.splitlines()[-1] for text in said}
            assert len(chosen) == len(clones)
            assert name in chosen
        finally:
            listed = docker("volume", "ls", "--quiet", "--filter", f"name={name}").split()
            docker("volume", "rm", *listed)
