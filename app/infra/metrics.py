"""The metrics of a process, served to Prometheus on a separate port.

Names and labels of the requests follow OpenTelemetry's conventions. Prometheus' own library
records them: OpenTelemetry's takes ten times as long.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Histogram,
    Info,
    ProcessCollector,
    start_http_server,
)

from app.config import Settings

log = structlog.get_logger(__name__)

METRICS_PORTS = 64  # ports to try from METRICS_PORT on: each process on a host takes one

REQUEST_DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of this process.

    A feature makes its own with `registry=resources.metrics.registry`, when it is opened.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        about = Info("target", "The service of this process.", registry=self.registry)
        about.info({"service_name": "drydock", "service_version": settings.git_sha})
        self._requests = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests.",
            ["http_request_method", "http_route", "http_response_status_code"],
            buckets=REQUEST_DURATION_BUCKETS,
            registry=self.registry,
        )

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record one request. `route` is the template of its path, "" if no route matched."""
        known = method if method in METHODS else "_OTHER"
        self._requests.labels(known, route, status).observe(seconds)

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
