"""Configuration of logs (structlog) and metrics (OpenTelemetry, read by Prometheus).

FastAPI records a metric of each request itself. Prometheus reads the metrics on a port of their
own.
"""

import logging
import logging.config
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import structlog
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, start_http_server
from structlog.typing import Processor

from app.config import Settings

log = structlog.get_logger(__name__)

METRICS_PORTS = 64  # ports to try from METRICS_PORT on: each process on a host takes one

# The buckets of FastAPI's request histogram, so that a histogram of ours can be added to it.
REQUEST_DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)


def configure_logging(settings: Settings) -> None:
    """Write all logs, those of libraries included, to stdout in one format.

    Our own loggers do not go through `logging`: it would triple the cost of a request's log line.
    """
    factory: Any = (
        structlog.BytesLoggerFactory(sys.stdout.buffer)
        if settings.json_logs
        else structlog.WriteLoggerFactory(sys.stdout)
    )
    structlog.configure(
        processors=[*_processors(settings), _renderer(settings, orjson.dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(_level(settings)),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(logging_config(settings))


def logging_config(settings: Settings) -> dict[str, Any]:
    """The configuration of `logging`: libraries and servers log in the same format as we do."""
    level = _level(settings)
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [*_processors(settings), structlog.stdlib.add_logger_name],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _renderer(settings, _dumps_text),
        ],
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
            "uvicorn": {"handlers": [], "level": level, "propagate": True},
            # A handler of its own, because UvicornWorker copies it to uvicorn.
            "gunicorn.error": {"handlers": ["stdout"], "level": level, "propagate": False},
            # `infra.http.middleware` logs each request with its id.
            "uvicorn.access": {"handlers": [], "level": logging.WARNING, "propagate": False},
            # SAQ logs a line for each job and each second of cron.
            "saq": {"level": logging.WARNING if level >= logging.INFO else level},
        },
    }


def _level(settings: Settings) -> int:
    return logging.getLevelNamesMapping()[settings.log_level.upper()]


def _processors(settings: Settings) -> list[Processor]:
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.json_logs:
        # Without local variables: they hold secrets, such as the Authorization header.
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors.append(structlog.processors.ExceptionRenderer(tracebacks))
    return processors


def _renderer(settings: Settings, serializer: Callable[..., str | bytes]) -> Processor:
    if settings.json_logs:
        return structlog.processors.JSONRenderer(serializer=serializer)
    colours = sys.stdout.isatty() or "FORCE_COLOR" in os.environ
    return structlog.dev.ConsoleRenderer(
        pad_event_to=24,
        colors=colours and "NO_COLOR" not in os.environ,
        # Where rich is installed, structlog's default shows local variables.
        exception_formatter=structlog.dev.plain_traceback,
    )


def _dumps_text(event: Any, default: Callable[[Any], Any]) -> str:
    return orjson.dumps(event, default).decode()


class Metrics:
    """The metrics of this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.registry = CollectorRegistry()
        self.provider = MeterProvider(
            resource=Resource({"service.name": "drydock", "service.version": settings.git_sha}),
            metric_readers=[PrometheusMetricReader(registry=self.registry)],
            shutdown_on_exit=False,
        )

    @property
    def meter(self) -> Meter:
        return self.provider.get_meter("drydock")

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve the metrics inside the block, on the first free port from METRICS_PORT on.

        With METRICS_PORT=0 they are not served. Without a free port an error is logged.
        """
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
