"""The production stack as `docker compose -f compose.yaml up -d --wait` makes it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from python_on_whales.exceptions import DockerException

from tests.stack.images import ONE, Images
from tests.stack.source import run
from tests.stack.stack import Stack, execute

SERVED = (
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9100/metrics').read().decode())"
)
REACHED = """
import socket, sys
def reached(target):
    try:
        socket.create_connection(target.split(":"), 2).close()
    except OSError:
        return False
    return True
print([target for target in sys.argv[1:] if reached(target)])
"""
SCHEMA = "psql -At -U drydock -c 'select xmin, version_num from alembic_version'"
OURS = ("app", "worker", "migrate")
ALL = ("db", "redis", "app", "worker", "proxy")


class TestStart:
    """From empty volumes everything becomes healthy, without one crash on the way."""

    def test_nothing_crashed_on_the_way(self, stack: Stack) -> None:
        assert {name: times for name, (_, times) in stack.first.items() if times} == {}
        assert len(stack.first) >= len(ALL)

    def test_everything_is_healthy(self, stack: Stack) -> None:
        for service in ALL:
            stack.until_healthy(service)  # tests before this one may have frozen something
        [migrate] = stack.containers("migrate", every=True)
        assert (migrate.state.status, migrate.state.exit_code) == ("exited", 0)

    def test_service_and_page_answer(self, stack: Stack, images: Images) -> None:
        with stack.client() as client:
            report, page = client.get("/health").json(), client.get("/")
            assert client.get("/static/page.css").status_code == 200
        assert (report["status"], report["version"]) == ("ok", images.version(ONE))
        assert "Everything works." in page.text


class TestExposure:
    """Nobody reaches anything but the proxy, and nothing of the host is mounted as code."""

    def test_only_the_proxy_publishes_a_port(self, stack: Stack) -> None:
        for service in ALL:
            published = any((stack.container(service).network_settings.ports or {}).values())
            assert published == (service == "proxy")

    def test_no_source_is_mounted(self, stack: Stack) -> None:
        for service in OURS:
            [found] = stack.containers(service, every=True)
            mounts = {str(mount.destination) for mount in found.mounts}
            assert mounts == {"/run/secrets/database_password", "/run/secrets/redis_password"}

    def test_the_proxy_can_not_reach_what_holds_the_data(
        self, stack: Stack, images: Images
    ) -> None:
        targets = [("app", "8000")]
        for service, port in (("db", "5432"), ("redis", "6379")):
            networks = stack.container(service).network_settings.networks or {}
            targets += [(service, port), *((str(n.ip_address), port) for n in networks.values())]
        # The proxy's image has no program for this, so another container joins its network.
        said = stack.docker.run(
            images.name(ONE),
            ["python", "-c", REACHED, *(":".join(target) for target in targets)],
            networks=[f"container:{stack.container('proxy').id}"],
            remove=True,
        )
        assert said == "['app:8000']"

    def test_redis_and_postgres_ask_for_a_password(self, stack: Stack) -> None:
        assert "NOAUTH" in stack.run_in("redis", "redis-cli", "ping")
        look = "psql -h 127.0.0.1 -U drydock -w -c 'select 1' 2>&1; true"
        assert "no password supplied" in stack.run_in("db", "sh", "-c", look)


class TestLimits:
    """Each container has limits and few rights, and comes back after a crash."""

    def test_every_container_is_bounded(self, stack: Stack) -> None:
        for service in ALL:
            host = stack.container(service).host_config
            assert host.memory
            assert host.pids_limit
            assert host.readonly_rootfs
            assert host.init
            assert host.cap_drop == ["ALL"]
            assert "no-new-privileges:true" in (host.security_opt or [])
            assert host.restart_policy is not None
            assert host.restart_policy.name == "unless-stopped"
            assert host.log_config is not None
            assert set(host.log_config.config or {}) == {"max-size", "max-file"}


class TestUnreadable:
    """A service does not start without a file that it can't read, as in a clone under umask 077."""

    @pytest.mark.parametrize(
        ("service", "file"),
        [
            ("redis", "deploy/redis.conf"),
            ("redis", "secrets/redis_password"),
            ("roles", "deploy/postgres/roles.sql"),
            ("roles", "secrets/database_owner_password"),
            ("migrate", "secrets/redis_password"),
            ("proxy", "deploy/proxy/Caddyfile"),
        ],
    )
    def test_it_ends_and_names_the_file(self, stack: Stack, service: str, file: str) -> None:
        path = stack.source / file
        command = ["docker", "compose", "-f", "compose.yaml", "run", "--rm", "--no-deps", "-T"]
        with closed(path):
            said = run([*command, service], cwd=stack.source, env=stack.environment, check=False)
        assert re.search("(?i)permission denied|chmod 644", said)
        assert path.name in said

    def test_a_new_database_too(self, stack: Stack) -> None:
        """It has no password yet. Later it needs the file no more."""
        path = stack.source / "secrets/database_password"
        command = ["docker", "run", "--rm", "--user=999:999", "--tmpfs=/var/lib/postgresql"]
        command += [f"--volume={path}:/password:ro", "--env=POSTGRES_PASSWORD_FILE=/password"]
        with closed(path):
            image = str(stack.container("db").config.image)
            said = run([*command, image], cwd=stack.source, check=False)
        assert "/password: Permission denied" in said
        assert "superuser password is not specified" in said


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """Only its owner, who is no container's user, can read a file."""
    before = path.stat()
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 4711, 4711)  # root in a container can read what root owns
    try:
        yield
    finally:
        os.chown(path, before.st_uid, before.st_gid)
        path.chmod(before.st_mode)


class TestClosedAgain:
    """git closes files that it writes anew. Each script that starts containers opens them."""

    @pytest.mark.parametrize("words", [["compose", "ps"], ["release", "never-built"]], ids=str)
    def test_they_are_opened(self, stack: Stack, words: list[str]) -> None:
        file = stack.source / "deploy/redis.conf"
        file.chmod(0o600)
        stack.script(*words, check=False)
        assert file.stat().st_mode & 0o004


class TestCompose:
    """deploy/compose means the version in .deployed. Earlier releases wrote only its tag there."""

    @pytest.mark.parametrize("name", ["{repository}:one.id-0123456789ab", "one"])
    def test_it_has_the_running_version(self, stack: Stack, images: Images, name: str) -> None:
        deployed = stack.source / ".deployed"
        before = deployed.read_text() if deployed.exists() else None
        deployed.write_text(f"{name.format(repository=images.repository)} before\n")
        try:
            said = stack.script("compose", "config", "--images")
        finally:
            deployed.unlink()
            if before is not None:
                deployed.write_text(before)
        assert images.name(name.rpartition(":")[2]) in said.splitlines()


class TestDurability:
    """Redis runs with the settings that keep acknowledged writes."""

    def test_healthy_means_that_writes_are_kept(self, stack: Stack) -> None:
        set_to = 'REDISCLI_AUTH="$(cat /tmp/admin)" redis-cli --user admin config set appendonly '
        check = stack.container("redis").config.healthcheck
        assert check is not None
        assert check.test is not None
        probe = check.test[1]
        stack.run_in("redis", "sh", "-c", probe)
        stack.run_in("redis", "sh", "-c", set_to + "no")
        try:
            with pytest.raises(DockerException):
                stack.run_in("redis", "sh", "-c", probe)
        finally:
            stack.run_in("redis", "sh", "-c", set_to + "yes")

    def test_redis_ends_in_order(self, stack: Stack) -> None:
        """SIGTERM reaches it, so it closes its append-only file."""
        stack.docker.compose.stop(["redis"])
        [redis] = stack.containers("redis", every=True)
        ended = redis.state.exit_code, str(redis.logs(tail=5))
        stack.up()
        assert ended[0] == 0
        assert "bye bye" in ended[1]


class TestScale:
    """Three containers share the work, and the schema is migrated once."""

    def test_load_is_spread(self, stack: Stack) -> None:
        before = stack.run_in("db", "sh", "-c", SCHEMA)
        stack.scale(3)
        try:
            with stack.client() as client:
                for _ in range(60):
                    assert client.get("/health/live").status_code == 200
            counts = [
                served(execute(found, "python", "-c", SERVED)) for found in stack.containers("app")
            ]
            assert len(counts) == 3
            assert min(counts) >= 15
            # The row has the same transaction id, so nothing was migrated again.
            assert stack.run_in("db", "sh", "-c", SCHEMA) == before
        finally:
            stack.scale(1)


def served(metrics: str) -> int:
    """How many requests for /health/live the metrics of one container count."""
    found = re.findall(r'^http\S*_count\{[^}]*"/health/live"[^}]*\} (\S+)$', metrics, re.MULTILINE)
    return int(sum(map(float, found)))
