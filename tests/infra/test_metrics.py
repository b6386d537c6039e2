"""Metrics are served on a port of their own."""

import asyncio
import math
import re
import socket
from contextlib import ExitStack

import httpx
import pytest
from prometheus_client import Counter

from app.config import Settings
from app.infra.metrics import REQUEST_DURATION_BUCKETS, Metrics
from tests.live import run_service
from tests.logs import captured_logs, named
from tests.sockets import unused_port


def scrape(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text


class TestMetrics:
    """Each process serves its metrics on a port of its own, never on the public one."""

    async def test_each_request_is_measured_by_its_route(self, own_settings: Settings) -> None:
        port = unused_port()
        settings = own_settings.model_copy(update={"metrics_port": port, "git_sha": "0a1b2c3"})
        async with run_service(settings) as service:
            for _ in range(3):
                await service.client.get("/health/live")
            text = await asyncio.to_thread(scrape, port)
        name = "http_server_request_duration_seconds"
        counts = re.findall(rf"^{name}_count\{{(.*)\}} (.*)$", text, re.MULTILINE)
        (count,) = [count for labels, count in counts if 'http_route="/health/live"' in labels]
        assert float(count) == 3
        buckets = re.findall(rf'^{name}_bucket\{{.*le="([^"]+)"', text, re.MULTILINE)
        assert {float(bucket) for bucket in buckets} == {*REQUEST_DURATION_BUCKETS, math.inf}
        assert 'service_version="0a1b2c3"' in text

    def test_a_process_takes_the_next_free_port(self, settings: Settings) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            first = taken.getsockname()[1]
            metrics = Metrics(settings.model_copy(update={"metrics_port": first}))
            Counter("docked", "Ships.", registry=metrics.registry).inc(2)
            with captured_logs() as events, metrics.served():
                (port,) = [event["port"] for event in named(events, "metrics_served")]
                assert port > first
                assert re.search(r"^docked_total 2\.0$", scrape(port), re.MULTILINE)

    def test_the_first_port_has_those_of_all_web_processes(self, settings: Settings) -> None:
        first = unused_port()
        changed = settings.model_copy(update={"metrics_port": first, "web_concurrency": 3})
        with ExitStack() as stack:
            for ships in (2, 5):  # the third has not started, or was killed
                metrics = Metrics(changed)
                counter = Counter("docked", "Ships.", ["kind"], registry=metrics.registry)
                counter.labels('a "b"\n').inc(ships)
                stack.enter_context(metrics.served())
            text, other = scrape(first), scrape(first + 1)
        found = re.findall(r"^docked_total\{(.*)\} (.*)$", text, re.MULTILINE)
        kind = r'kind="a \"b\"\n"'
        assert found == [
            (f'{kind},process="{first}"', "2.0"),
            (f'{kind},process="{first + 1}"', "5.0"),
        ]
        assert text.count("# TYPE docked_total counter") == 1
        assert "process=" not in other

    @pytest.mark.parametrize(
        ("environment", "host", "status"),
        [
            *(("development", host, 200) for host in ("localhost:9100", "127.0.0.1", "[::1]:9100")),
            ("development", "app:9100", 200),
            ("development", "rebound.example:9100", 403),
            ("development", "rebound.example", 403),
            ("development", "[rebound.example]:9100", 403),
            ("production", "app.monitoring.svc:9100", 200),
        ],
    )
    def test_in_development_no_web_page_can_read_them(
        self, settings: Settings, environment: str, host: str, status: int
    ) -> None:
        """A page's own name may lead to this port (DNS rebinding). The browser sends that name."""
        changed = {"metrics_port": unused_port(), "environment": environment}
        metrics = Metrics(settings.model_copy(update=changed))
        Counter("docked", "Ships.", registry=metrics.registry).inc(2)
        with metrics.served():
            url = f"http://127.0.0.1:{changed['metrics_port']}/metrics"
            answer = httpx.get(url, headers={"Host": host}, trust_env=False)
        assert answer.status_code == status
        assert ("docked" in answer.text) is (status == 200)

    def test_without_a_port_the_service_starts(self, settings: Settings) -> None:
        with captured_logs() as events, Metrics(settings).served():
            pass
        assert (settings.metrics_port, events) == (0, [])
        changed = settings.model_copy(update={"metrics_host": "192.0.2.1", "metrics_port": 9100})
        with captured_logs() as events, Metrics(changed).served():
            pass
        assert named(events, "metrics_not_served")[0]["log_level"] == "error"
