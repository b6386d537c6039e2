"""Behind PgBouncer in transaction mode. It is Debian's, in a container, and Linux only."""

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from app.infra.connecting import POOLER
from dev.files import ROOT
from dev.postgres import OWNER, as_role
from tests.polling import until
from tests.service import App, Program, Service, running_service
from tests.sockets import unused_port
from tests.stack.source import own_name, run

CLIENTS, ROUNDS = 20, 20
DOCKERFILE = """FROM postgres:18-trixie
RUN apt-get update && apt-get install --yes --no-install-recommends pgbouncer
"""
SETTINGS = """
[databases]
* = host=127.0.0.1 port={postgres}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = scram-sha-256
auth_file = /etc/pooler/users
pool_mode = transaction
default_pool_size = 5
ignore_startup_parameters = {ignored}
"""
# Those that the service sends in `options` without DATABASE_POOLED.
LIMITS = (
    "lock_timeout,statement_timeout,idle_in_transaction_session_timeout,tcp_keepalives_idle,"
    "tcp_keepalives_interval,tcp_keepalives_count,tcp_user_timeout"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pooler-image")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    name = own_name()
    run(["docker", "build", "--quiet", "--tag", name, "."], cwd=folder)
    yield name
    run(["docker", "image", "rm", "--force", name], cwd=folder)


@pytest.fixture(params=["", LIMITS], ids=["refuses", "ignores"])
def pooler(
    request: pytest.FixtureRequest, service: Service, image: str, tmp_path: Path
) -> Iterator[str]:
    """The service's URL through a pooler, which refuses or ignores time limits of a session."""
    url, port = urlsplit(service.postgres.url), unused_port()
    settings = SETTINGS.format(postgres=url.port, port=port, ignored=request.param)
    (tmp_path / "pgbouncer.ini").write_text(settings)
    users = "".join(f'"{name}" "{url.password}"\n' for name in (url.username, OWNER))
    (tmp_path / "users").write_text(users)
    for path in (*tmp_path.parents[:2], tmp_path, *tmp_path.iterdir()):
        path.chmod(0o755)  # the pooler has a user of its own, and the umask may be 077
    start = ["docker", "run", "--detach", "--rm", "--network=host", "--user=999"]
    mount = ["--volume", f"{tmp_path}:/etc/pooler:ro", image]
    command = [*start, *mount, "pgbouncer", "/etc/pooler/pgbouncer.ini"]
    container = run(command, cwd=tmp_path).strip()
    try:
        until(lambda: accepts(port), within=30)
        yield service.postgres.url.replace(f":{url.port}/", f":{port}/")
    finally:
        run(["docker", "rm", "--force", container], cwd=tmp_path)


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def migrate(service: Service, url: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {**service.environment, "DATABASE_URL": as_role(url, OWNER), **more}
    return subprocess.run(
        [sys.executable, "-m", "app", "migrate"],
        cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


class TestPooled:
    """With DATABASE_POOLED the service works, whatever the pooler does with session settings."""

    async def test_twenty_clients_at_once(
        self, service: Service, pooler: str, tmp_path: Path
    ) -> None:
        environment = {**service.environment, "DATABASE_URL": pooler, "DATABASE_POOLED": "true"}
        codes: Counter[int] = Counter()

        async def use(client: httpx.AsyncClient, number: int) -> None:
            for turn in range(ROUNDS):
                body = {"name": f"{number}-{turn}", "scopes": ["tokens:write"]}
                created = await client.post("/api/v1/tokens", json=body)
                listed = await client.get("/api/v1/tokens")
                codes.update([created.status_code, listed.status_code])

        with App(environment, tmp_path, token=service.token) as app:
            async with service.client(app) as client:
                await asyncio.gather(*(use(client, number) for number in range(CLIENTS)))
        assert codes == {201: CLIENTS * ROUNDS, 200: CLIENTS * ROUNDS}

    def test_a_migration_needs_a_direct_url(self, service: Service, pooler: str) -> None:
        refused = migrate(service, pooler, DATABASE_POOLED="true")
        assert refused.returncode == 2
        assert "Set DATABASE_MIGRATION_URL" in refused.stderr
        direct = {"DATABASE_POOLED": "true", "DATABASE_MIGRATION_URL": service.owner_url}
        for _ in range(2):  # the first leaves no lock behind
            assert migrate(service, pooler, **direct).returncode == 0


class TestNotDeclared:
    """Without DATABASE_POOLED nothing starts, and the message names the setting."""

    @pytest.mark.parametrize("name", ["app", "worker"])
    def test_a_process_ends(self, service: Service, pooler: str, tmp_path: Path, name: str) -> None:
        environment = {**service.environment, "DATABASE_URL": pooler}
        worker = [sys.executable, "-m", "app", "worker"]
        program = App(environment, tmp_path, token=service.token)
        if name == "worker":
            program = Program(name, worker, environment, tmp_path)  # type: ignore[assignment]
        program.start()
        assert program.wait() != 0
        assert POOLER.split(".")[0] in program.output()

    def test_a_migration_ends(self, service: Service, pooler: str) -> None:
        refused = migrate(service, pooler)
        assert refused.returncode == 1
        assert "Set DATABASE_POOLED=true" in refused.stderr
