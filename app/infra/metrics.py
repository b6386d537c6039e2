"""The metrics of a process: recorded with OpenTelemetry, served to Prometheus on a separate port.

FastAPI itself records the requests.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, start_http_server

from app.config import Settings

log = structlog.get_logger(__name__)

METRICS_PORTS = 64  # ports to try from METRICS_PORT on: each process on a host takes one

# The buckets of FastAPI's request histogram. With the same ones a query can add up both.
REQUEST_DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)


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
