"""Metrics are served on a port of their own."""

import asyncio
import contextlib
import math
import re
import socket

import httpx

from app.config import Settings
from app.infra.metrics import REQUEST_DURATION_BUCKETS, Metrics
from tests.live import run_service
from tests.logs import captured_logs, named
from tests.sockets import unused_port


def scrape(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text


def docked(times: int, settings: Settings) -> Metrics:
    """The metrics of a process, with a counter of its own value."""
    metrics = Metrics(settings)
    metrics.meter.create_counter("docked").add(times)
    return metrics


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

    def test_a_second_process_takes_the_next_port(self, settings: Settings) -> None:
        first = consecutive_ports()
        changed = settings.model_copy(update={"metrics_port": first})
        with docked(1, changed).served(), docked(2, changed).served():
            assert re.search(r"^docked_total\{.*\} 1\.0$", scrape(first), re.MULTILINE)
            assert re.search(r"^docked_total\{.*\} 2\.0$", scrape(first + 1), re.MULTILINE)
        with docked(3, changed).served():
            assert re.search(r"^docked_total\{.*\} 3\.0$", scrape(first), re.MULTILINE)

    def test_port_0_serves_none(self, settings: Settings) -> None:
        with captured_logs() as events, Metrics(settings).served():
            pass
        assert settings.metrics_port == 0
        assert events == []

    def test_an_address_of_another_host_is_logged_and_stops_nothing(
        self, settings: Settings
    ) -> None:
        changed = settings.model_copy(update={"metrics_host": "192.0.2.1", "metrics_port": 9100})
        with captured_logs() as events, Metrics(changed).served():
            pass
        assert named(events, "metrics_not_served")[0]["log_level"] == "error"


def consecutive_ports() -> int:
    """The first of two ports that were free a moment ago."""
    while True:
        first = unused_port()
        with contextlib.suppress(OSError), socket.socket() as second:
            second.bind(("127.0.0.1", first + 1))
            return first
