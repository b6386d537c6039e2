"""Logs have one format, whoever writes them. Metrics have a port of their own."""

import asyncio
import contextlib
import logging
import math
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import structlog
from structlog.contextvars import bound_contextvars

from app.config import Settings
from app.infra.telemetry import REQUEST_DURATION_BUCKETS, Metrics, configure_logging
from tests.live import run_service
from tests.logs import captured_logs, named
from tests.sockets import unused_port

Captured = pytest.CaptureFixture[bytes]


@pytest.fixture
def restored(settings: Settings) -> Iterator[None]:
    """Set up before stdout is captured, because log handlers keep the stdout of their start."""
    yield
    configure_logging(settings)


@pytest.fixture
def output(restored: None, capsysbinary: Captured) -> Captured:
    return capsysbinary


def lines(output: Captured) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in output.readouterr().out.splitlines()]


def fail_with_a_secret_at_hand() -> None:
    authorization = "Bearer drydock_0123"  # noqa: F841 -- local variables must not be logged
    raise LookupError("no such berth")


class TestFormat:
    """In production each line is a JSON object. In development lines are text."""

    @pytest.mark.parametrize("library", [False, True])
    def test_production(self, settings: Settings, output: Captured, *, library: bool) -> None:
        configure_logging(settings.model_copy(update={"environment": "production"}))
        with bound_contextvars(request_id="abc"):
            if library:
                logging.getLogger("some.library").warning("sank %s times", 3)
            else:
                structlog.get_logger().warning("sank 3 times", name="Ærø", crew={1})
        (line,) = lines(output)
        assert line.pop("timestamp").endswith("Z")
        own = {"logger": "some.library"} if library else {"name": "Ærø", "crew": "{1}"}
        assert line == {"event": "sank 3 times", "level": "warning", "request_id": "abc", **own}

    def test_development(self, settings: Settings, output: Captured) -> None:
        configure_logging(settings)
        structlog.get_logger().info("docked", berth=3)
        logging.getLogger("some.library").warning("sank")
        ours, librarys = output.readouterr().out.decode().splitlines()
        assert re.search(r"docked .*berth", ours)
        assert "sank" in librarys

    @pytest.mark.parametrize("form", ["json", "console"])
    @pytest.mark.parametrize("get_logger", [structlog.get_logger, logging.getLogger])
    def test_an_exception_is_logged_without_the_values_of_variables(
        self, get_logger: Any, form: str, settings: Settings, output: Captured
    ) -> None:
        configure_logging(settings.model_copy(update={"log_format": form}))
        try:
            fail_with_a_secret_at_hand()
        except LookupError:
            get_logger("some.module").exception("failed")
        text = output.readouterr().out
        assert b"no such berth" in text
        assert b"fail_with_a_secret_at_hand" in text
        assert b"drydock_0123" not in text
        if form == "json":
            assert "exception" in orjson.loads(text)


class TestLevels:
    """LOG_LEVEL decides what is written. Verbose libraries are kept quiet."""

    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            ("error", ["uvicorn, error"]),
            ("info", ["ours, info", "uvicorn, error"]),
            (
                "debug",
                ["ours, debug", "ours, info", "library, debug", "saq, info", "uvicorn, error"],
            ),
        ],
    )
    def test_it(
        self, level: str, expected: list[str], settings: Settings, output: Captured
    ) -> None:
        configure_logging(settings.model_copy(update={"log_level": level, "log_format": "json"}))
        structlog.get_logger().debug("ours, debug")
        structlog.get_logger().info("ours, info")
        logging.getLogger("some.library").debug("library, debug")
        logging.getLogger("saq").info("saq, info")
        logging.getLogger("uvicorn.access").info("access, info")
        logging.getLogger("uvicorn.error").error("uvicorn, error")
        assert [line["event"] for line in lines(output)] == expected


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
