"""Logs have one format, whoever writes them."""

import io
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from structlog.contextvars import bound_contextvars

from app.config import Settings
from app.infra.logs import configure_logging
from app.printable import CONTROLS

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


def fail_with_a_secret() -> None:
    authorization = "Bearer drydock_0123"  # noqa: F841 -- local variables must not be logged
    raise LookupError("no such berth")


class TestFormat:
    """In production each line is a JSON object. In development lines are text."""

    def test_production(self, settings: Settings, output: Captured) -> None:
        configure_logging(settings.model_copy(update={"environment": "production"}))
        with bound_contextvars(request_id="abc"):
            structlog.get_logger().warning("sank 3 times", name="Ærø", crew={1})
            logging.getLogger("some.library").warning("sank %s times", 3)
        ours, librarys = lines(output)
        common = {"event": "sank 3 times", "level": "warning", "request_id": "abc"}
        assert ours.pop("timestamp").endswith("Z")
        assert librarys.pop("timestamp").endswith("Z")
        assert ours == {**common, "name": "Ærø", "crew": "{1}"}
        assert librarys == {**common, "logger": "some.library"}

    def test_development(self, settings: Settings, output: Captured) -> None:
        configure_logging(settings)
        structlog.get_logger().info("docked", berth=3)
        logging.getLogger("some.library").warning("sank")
        ours, librarys = output.readouterr().out.decode().splitlines()
        assert re.search(r"docked .*berth", ours)
        assert "sank" in librarys

    @pytest.mark.parametrize("get_logger", [structlog.get_logger, logging.getLogger])
    def test_a_terminal_that_lacks_characters(
        self, get_logger: Any, settings: Settings, restored: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = io.BytesIO()
        terminal = io.TextIOWrapper(written, encoding="ascii", write_through=True)
        monkeypatch.setattr(sys, "stdout", terminal)
        configure_logging(settings)
        get_logger("some").warning("Ærø")
        assert rb"\xc6r\xf8" in written.getvalue()

    @pytest.mark.parametrize("form", ["json", "console"])
    @pytest.mark.parametrize("get_logger", [structlog.get_logger, logging.getLogger])
    def test_an_exception_is_logged_without_the_values_of_variables(
        self, get_logger: Any, form: str, settings: Settings, output: Captured
    ) -> None:
        configure_logging(settings.model_copy(update={"log_format": form}))
        try:
            fail_with_a_secret()
        except LookupError:
            get_logger("some.module").exception("failed")
        text = output.readouterr().out
        assert b"no such berth" in text
        assert b"fail_with_a_secret" in text
        assert b"drydock_0123" not in text
        if form == "json":
            assert "exception" in orjson.loads(text)


HOSTILE = "/a\x1b]52;c;cm0gLXJm\x07\x9b2J\u202e\x7f\r\n"


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("get_logger", [structlog.get_logger, logging.getLogger])
class TestTextOfStrangers:
    """It can't steer a terminal, add a line, or flush the log."""

    def test_controls_are_escaped(
        self, get_logger: Any, form: str, settings: Settings, output: Captured
    ) -> None:
        configure_logging(settings.model_copy(update={"log_format": form}))
        log = get_logger("some.module")
        log.error(HOSTILE.strip(), exc_info=LookupError(HOSTILE))
        if get_logger is structlog.get_logger:
            log.info("request", path=HOSTILE, parts={HOSTILE: [HOSTILE, Path(HOSTILE)]})
        text = output.readouterr().out.decode()
        assert "]52;c;cm0gLXJm" in text
        assert CONTROLS.search(text.replace("\n", "")) is None

    def test_a_long_one_is_cut(
        self, get_logger: Any, form: str, settings: Settings, output: Captured
    ) -> None:
        configure_logging(settings.model_copy(update={"log_format": form}))
        if get_logger is structlog.get_logger:
            get_logger().info("request", path="/" + "\x1b" * 62_000)
            most = 1500
        else:
            get_logger("some.library").warning("\x1b" * 62_000)
            most = 11_000
        assert len(output.readouterr().out) <= most


class TestLevels:
    """LOG_LEVEL decides what is written. Verbose libraries are kept quiet."""

    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            ("error", ["uvicorn.error"]),
            ("info", ["ours", "uvicorn.error"]),
            ("debug", ["ours, debug", "ours", "some.library", "saq", "uvicorn.error"]),
        ],
    )
    def test_it(
        self, level: str, expected: list[str], settings: Settings, output: Captured
    ) -> None:
        configure_logging(settings.model_copy(update={"log_level": level, "log_format": "json"}))
        structlog.get_logger().debug("ours, debug")
        structlog.get_logger().info("ours")
        logging.getLogger("some.library").debug("some.library")
        logging.getLogger("saq").info("saq")
        logging.getLogger("uvicorn.access").info("uvicorn.access")
        logging.getLogger("uvicorn.error").error("uvicorn.error")
        assert [line["event"] for line in lines(output)] == expected
