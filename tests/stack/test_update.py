"""Updates of what a deploy leaves alone: Postgres, Redis and the proxy."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.polling import until
from tests.stack.load import under_load
from tests.stack.source import run
from tests.stack.stack import Stack

pytestmark = pytest.mark.timeout(300)

RELOAD = ("exec", "-T", "proxy", "caddy", "reload", "--config", "/etc/caddy/Caddyfile")
RATE = 50  # requests a second


class TestRules:
    """The proxy reads changed rules without losing a request."""

    @pytest.fixture
    def rules(self, stack: Stack) -> Iterator[Path]:
        file = stack.source / "deploy/proxy/Caddyfile"
        before = file.read_text()
        yield file
        file.write_text(before)
        stack.script("compose", *RELOAD)

    def test_a_changed_file(self, stack: Stack, rules: Path) -> None:
        def ask(client: httpx.AsyncClient, _number: int) -> httpx.Request:
            return client.build_request("GET", "/health/live")

        text = rules.read_text()
        with under_load(stack.url, ask, rate=RATE, seconds=6) as outcome, stack.client() as client:
            for answer in ("first", "second"):
                # git replaces a file by another one, and does not write into it.
                new = rules.with_suffix(".new")
                new.write_text(text.replace("encode", f'respond /rules "{answer}"\n\tencode', 1))
                new.replace(rules)
                stack.script("compose", *RELOAD)
                assert client.get("/rules").text == answer
        outcome.check()

    def test_a_mistake_changes_nothing(self, stack: Stack, rules: Path) -> None:
        rules.write_text(f"{rules.read_text()}\n:81 {{\n\tnonsense\n}}\n")
        with pytest.raises(AssertionError, match="unrecognized directive: nonsense"):
            stack.script("compose", *RELOAD)
        with stack.client() as client:
            assert client.get("/health/live").status_code == 200


@pytest.mark.long
class TestContainers:
    """Each is replaced alone, and keeps its data. The service recovers without a restart."""

    def up(self, stack: Stack, *words: str, **changes: str) -> None:
        command = ["deploy/compose", "up", "--detach", "--wait", "--no-deps", *words]
        run(command, cwd=stack.source, env={**stack.environment, **changes})

    def test_a_changed_redis_conf(self, stack: Stack) -> None:
        """Compose does not see the change, so the page has --force-recreate."""
        file = stack.source / "deploy/redis.conf"
        text = file.read_text()
        for seconds in ("61", "60"):
            new = file.with_suffix(".new")
            new.write_text(text.replace("tcp-keepalive 60", f"tcp-keepalive {seconds}"))
            new.replace(file)  # as git does
            self.up(stack, "redis")
            self.up(stack, "--force-recreate", "redis")
            look = (
                'REDISCLI_AUTH="$(cat /tmp/admin)" redis-cli --user admin config get tcp-keepalive'
            )
            assert stack.run_in("redis", "sh", "-c", look).split() == ["tcp-keepalive", seconds]

    @pytest.mark.parametrize(
        ("service", "change"),
        [
            ("db", {"DB_MEMORY": "600m"}),
            ("redis", {"REDIS_MEMORY": "450m"}),
            ("proxy", {"PROXY_MEMORY": "300m"}),
        ],
    )
    def test_one_after_the_other(self, stack: Stack, service: str, change: dict[str, str]) -> None:
        token = stack.make_token("tokens:write")
        before = {name: stack.container(name).id for name in ("db", "redis", "proxy", "app")}
        self.up(stack, service)
        assert stack.container(service).id == before[service]
        self.up(stack, service, **change)
        after = {name: stack.container(name).id for name in before}
        assert {name for name in before if before[name] != after[name]} == {service}
        with stack.client(Authorization=f"Bearer {token}") as api:
            until(lambda: api.get("/health").status_code == 200)
            until(lambda: api.get("/api/v1/tokens").status_code == 200)
        self.up(stack, service)
