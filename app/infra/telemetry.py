"""Logs and metrics: how they are written. What is worth telling is decided where it happens.

Metrics are OpenTelemetry's, which FastAPI emits itself for each request, read by Prometheus on a
port of their own. Logs are structlog's, and those of libraries pass through the same formatter.
"""

import logging
import logging.config
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, Histogram, start_http_server
from structlog.typing import EventDict, Processor

from app.config import Settings
from app.infra.lines import LineWriter

log = structlog.get_logger(__name__)

# How many processes of one host may serve metrics: each takes the next port after METRICS_PORT.
METRICS_PORTS = 64

# FastAPI's own, so that the two histograms can be drawn in one picture.
DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)


ISO_TIME = structlog.processors.TimeStamper(fmt="iso", utc=True)


def configure_logging(settings: Settings) -> None:
    """Send every log, the libraries' included, to stdout in one format.

    Ours are rendered by structlog itself: through the standard library's machinery the line
    that each request writes would cost three times as much.
    """
    if settings.json_logs:
        writer = LineWriter(sys.stdout.buffer)
        render: Processor = structlog.processors.JSONRenderer(serializer=_to_bytes)
        factory: Any = lambda *_: writer  # noqa: E731 -- a factory in structlog's sense
    else:
        render = _console_renderer()
        factory = structlog.WriteLoggerFactory(sys.stdout)
    structlog.configure(
        processors=[*_processors(settings, _add_time if settings.json_logs else ISO_TIME), render],
        wrapper_class=structlog.make_filtering_bound_logger(_level(settings)),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(_library_logging(settings))


def _processors(settings: Settings, time: Processor) -> list[Processor]:
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        time,
    ]
    if settings.json_logs:
        # Local variables hold what a log must not: the request's Authorization header. And writing
        # them out took tens of milliseconds for each exception.
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors.append(structlog.processors.ExceptionRenderer(tracebacks))
    return processors


def _console_renderer() -> Processor:
    colours = sys.stdout.isatty() or "FORCE_COLOR" in os.environ
    return structlog.dev.ConsoleRenderer(
        pad_event_to=24,
        colors=colours and "NO_COLOR" not in os.environ,
        # Where rich is installed, its formatter would show every local variable: for seconds.
        exception_formatter=structlog.dev.plain_traceback,
    )


def _level(settings: Settings) -> int:
    return logging.getLevelNamesMapping()[settings.log_level.upper()]


def _library_logging(settings: Settings) -> dict[str, Any]:
    """The standard library's logging configuration: what libraries log, in the same format."""
    level = _level(settings)
    render = (
        structlog.processors.JSONRenderer(serializer=_to_json)
        if settings.json_logs
        else _console_renderer()
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [*_processors(settings, ISO_TIME), structlog.stdlib.add_logger_name],
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    }
    stdout = {
        "class": "logging.StreamHandler",
        "stream": "ext://sys.stdout",
        "formatter": "structured",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "handlers": {"stdout": stdout},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            # The servers' own handlers would write in their own formats. gunicorn's is handed on
            # to uvicorn by its worker class, so it holds a handler instead of propagating.
            "uvicorn": {"handlers": [], "level": level, "propagate": True},
            "gunicorn.error": {"handlers": ["stdout"], "level": level, "propagate": False},
            # Ours says the same in one line, with the request's id.
            # Without propagation: uvicorn formats its line as long as any handler might take it.
            "uvicorn.access": {"handlers": [], "level": logging.WARNING, "propagate": False},
            # A line for each job and each second of cron is for debugging SAQ.
            "saq": {"level": logging.WARNING if level >= logging.INFO else level},
        },
    }


def _add_time(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The time as it is: orjson writes it faster than datetime formats itself."""
    event["timestamp"] = datetime.now(UTC)
    return event


def _to_bytes(event: Any, default: Callable[[Any], Any]) -> bytes:
    return orjson.dumps(event, default=default, option=orjson.OPT_UTC_Z)


def _to_json(event: Any, default: Callable[[Any], Any]) -> str:
    return orjson.dumps(event, default=default).decode()


class Metrics:
    """One process's instruments and the registry that Prometheus reads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.registry = CollectorRegistry()
        # The histograms that together hold every answered request: FastAPI's, and the hot ones.
        self.durations = {"http_server_request_duration_seconds"}
        self.provider = MeterProvider(
            resource=Resource({"service.name": "drydock", "service.version": settings.git_sha}),
            metric_readers=[PrometheusMetricReader(registry=self.registry)],
            shutdown_on_exit=False,
        )

    @property
    def meter(self) -> Meter:
        return self.provider.get_meter("drydock")

    def hot_histogram(self, name: str, description: str) -> Histogram:
        """A histogram of seconds for where OpenTelemetry's costs more than the work it measures.

        An OpenTelemetry record takes ten times as long as Prometheus's own observe().
        """
        self.durations.add(name)
        return Histogram(name, description, buckets=DURATION_BUCKETS, registry=self.registry)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve them on METRICS_PORT or, for a further process, the next free one. 0: nowhere."""
        first = self._settings.metrics_port
        server = self._listen(first) if first else None
        try:
            yield
        finally:
            if server is not None:
                server.shutdown()
                server.server_close()
            self.provider.shutdown()

    def _listen(self, first: int) -> Any:
        for port in range(first, min(first + METRICS_PORTS, 65536)):
            try:
                server, _thread = start_http_server(
                    port, addr=self._settings.metrics_host, registry=self.registry
                )
            except OSError as error:
                log.debug("metrics_port_taken", port=port, error=str(error))
            else:
                log.info("metrics_served", port=port)
                return server
        log.error("metrics_not_served", first=first, tried=METRICS_PORTS)
        return None
