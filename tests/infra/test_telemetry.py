"""Logs in one format whoever writes them, and metrics on a port of their own."""

import asyncio
import contextlib
import logging
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
from app.infra.telemetry import Metrics, configure_logging
from tests.live import run_service
from tests.logs import captured_logs, named
from tests.sockets import unused_port

Captured = pytest.CaptureFixture[bytes]


@pytest.fixture
def restored(settings: Settings) -> Iterator[None]:
    """Ask for it before the capture of stdout: handlers hold on to the stdout of their making."""
    yield
    configure_logging(settings)


@pytest.fixture
def output(restored: None, capsysbinary: Captured) -> Captured:
    return capsysbinary


def lines(output: Captured) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in output.readouterr().out.splitlines()]


def fail_with_a_secret_at_hand() -> None:
    authorization = "Bearer drydock_0123"  # noqa: F841 -- what a traceback's locals would show
    raise LookupError("no such berth")


def in_production(settings: Settings) -> Settings:
    return settings.model_copy(update={"environment": "production"})


class TestJson:
    """In production each line is one JSON object."""

    def test_ours_carries_level_time_and_context(
        self, settings: Settings, output: Captured
    ) -> None:
        configure_logging(in_production(settings))
        with bound_contextvars(request_id="abc"):
            structlog.get_logger().warning("docked", berth=3, name="Ærø")
        (line,) = lines(output)
        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "event": "docked",
            "level": "warning",
            "request_id": "abc",
            "berth": 3,
            "name": "Ærø",
        }

    def test_a_librarys_looks_the_same(self, settings: Settings, output: Captured) -> None:
        configure_logging(in_production(settings))
        with bound_contextvars(request_id="abc"):
            logging.getLogger("some.library").warning("sank %s times", 3)
        (line,) = lines(output)
        assert line["event"] == "sank 3 times"
        assert line["level"] == "warning"
        assert line["request_id"] == "abc"
        assert line["logger"] == "some.library"
        assert line["timestamp"].endswith("Z")

    @pytest.mark.parametrize("ours", ["ours", "library"])
    def test_an_exception_is_in_the_line_without_the_values_of_variables(
        self, ours: str, settings: Settings, output: Captured
    ) -> None:
        configure_logging(in_production(settings))
        log = structlog.get_logger() if ours == "ours" else logging.getLogger("some.library")
        try:
            fail_with_a_secret_at_hand()
        except LookupError:
            log.exception("failed")
        text = output.readouterr().out
        (line,) = map(orjson.loads, text.splitlines())
        assert "LookupError" in orjson.dumps(line["exception"]).decode()
        assert b"fail_with_a_secret_at_hand" in text
        assert b"drydock_0123" not in text

    def test_what_json_does_not_know_is_written_all_the_same(
        self, settings: Settings, output: Captured
    ) -> None:
        configure_logging(in_production(settings))
        structlog.get_logger().info("docked", ship=object, crew={1, 2})
        (line,) = lines(output)
        assert "object" in line["ship"]


class TestConsole:
    """In development people read the lines."""

    def test_it_is_text_with_the_values(self, settings: Settings, output: Captured) -> None:
        configure_logging(settings)
        structlog.get_logger().info("docked", berth=3)
        logging.getLogger("some.library").warning("sank")
        text = output.readouterr().out.decode()
        assert "docked" in text
        assert "berth" in text
        assert "sank" in text
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text.splitlines()[0])

    @pytest.mark.parametrize("ours", ["ours", "library"])
    def test_an_exception_is_shown_without_the_values_of_variables(
        self, ours: str, settings: Settings, output: Captured
    ) -> None:
        configure_logging(settings)
        log = structlog.get_logger() if ours == "ours" else logging.getLogger("some.library")
        try:
            fail_with_a_secret_at_hand()
        except LookupError:
            log.exception("failed")
        text = output.readouterr().out
        assert b"LookupError: no such berth" in text
        assert b"drydock_0123" not in text


class TestLevels:
    """Only what the level asks for is written, and libraries that chatter are kept quiet."""

    def events(self, settings: Settings, level: str, output: Captured) -> list[str]:
        configure_logging(settings.model_copy(update={"log_level": level, "log_format": "json"}))
        structlog.get_logger().debug("ours, debug")
        structlog.get_logger().info("ours, info")
        logging.getLogger("some.library").debug("library, debug")
        logging.getLogger("saq").info("saq, info")
        logging.getLogger("uvicorn.access").info("access, info")
        logging.getLogger("uvicorn.error").error("uvicorn, error")
        return [line["event"] for line in lines(output)]

    def test_info(self, settings: Settings, output: Captured) -> None:
        assert self.events(settings, "info", output) == ["ours, info", "uvicorn, error"]

    def test_debug(self, settings: Settings, output: Captured) -> None:
        assert self.events(settings, "debug", output) == [
            "ours, debug",
            "ours, info",
            "library, debug",
            "saq, info",
            "uvicorn, error",
        ]

    def test_error(self, settings: Settings, output: Captured) -> None:
        assert self.events(settings, "error", output) == ["uvicorn, error"]


def scrape(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text


def docked(times: int, settings: Settings) -> Metrics:
    """A process's metrics, with a counter that tells it from another's."""
    metrics = Metrics(settings)
    metrics.meter.create_counter("docked").add(times)
    return metrics


class TestMetrics:
    """Metrics are served on their own port, which is never the public one."""

    async def test_each_request_is_measured_by_its_route(self, own_settings: Settings) -> None:
        port = unused_port()
        settings = own_settings.model_copy(update={"metrics_port": port, "git_sha": "0a1b2c3"})
        async with run_service(settings) as service:
            for _ in range(3):
                await service.client.get("/health/live")
            text = await asyncio.to_thread(scrape, port)
        counts = [
            line
            for line in text.splitlines()
            if line.startswith("http_server_request_duration_seconds_count")
            and 'http_route="/health/live"' in line
        ]
        assert len(counts) == 1
        assert float(counts[0].rpartition(" ")[2]) == 3
        assert 'service_version="0a1b2c3"' in text

    def test_a_second_process_takes_the_next_port(self, settings: Settings) -> None:
        first = consecutive_ports()
        changed = settings.model_copy(update={"metrics_port": first})
        with docked(1, changed).served(), docked(2, changed).served():
            assert re.search(r"^docked_total\{.*\} 1\.0$", scrape(first), re.MULTILINE)
            assert re.search(r"^docked_total\{.*\} 2\.0$", scrape(first + 1), re.MULTILINE)

    def test_the_port_is_free_again_afterwards(self, settings: Settings) -> None:
        changed = settings.model_copy(update={"metrics_port": unused_port()})
        for _ in range(2):
            with Metrics(changed).served():
                scrape(changed.metrics_port)
        with pytest.raises(httpx.ConnectError):
            scrape(changed.metrics_port)

    def test_none_is_served_on_port_0(self, settings: Settings) -> None:
        metrics = Metrics(settings.model_copy(update={"metrics_port": 0}))
        with captured_logs() as events, metrics.served():
            pass
        assert events == []

    def test_an_address_that_is_not_ours_is_told_and_stops_nothing(
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
