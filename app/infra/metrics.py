"""The metrics of a process, served to Prometheus on a separate port.

Names and labels of the requests follow OpenTelemetry's conventions. Prometheus' own library
records them: OpenTelemetry's takes ten times as long.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    make_wsgi_app,
    start_http_server,
)

from app.config import Settings
from app.infra.siblings import AllProcesses

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger(__name__)

ASK_LOCALLY = "In development, ask for 127.0.0.1 or localhost.\n"
METRICS_PORTS = 64  # ports to try from METRICS_PORT on: each process on a host takes one

REQUEST_DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
JOB_DURATION_BUCKETS = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
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

        # The circuit breaker of `infra.redis` counts them.
        self.redis_failures = Counter(
            "drydock_redis_failures",
            "How often Redis began to fail, so that the service went on without it.",
            registry=self.registry,
        )
        # `infra.audit` counts them.
        self.security_events = Counter(
            "drydock_security_events",
            "What the log records as security_event.",
            ["action"],
            registry=self.registry,
        )

        self._refusals = Counter(
            "drydock_rate_limited",
            "Requests that a rate limit has refused, by the limit's kind.",
            ["kind"],
            registry=self.registry,
        )
        self._jobs = Histogram(
            "drydock_job_duration_seconds",
            "Duration of jobs and crons, by how they ended: complete, failed, or queued again.",
            ["task", "status"],
            buckets=JOB_DURATION_BUCKETS,
            registry=self.registry,
        )

    def count_refusal(self, kind: str) -> None:
        self._refusals.labels(kind).inc()

    def observe_job(self, job: str, status: str, seconds: float) -> None:
        self._jobs.labels(job, status).observe(seconds)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record one request. `route` is the template of its path, "" if no route matched."""
        known = method if method in METHODS else "_OTHER"
        self._requests.labels(known, route, status).observe(seconds)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve the metrics inside the block, on the first free port from METRICS_PORT on.

        Of several web processes, the one on METRICS_PORT itself serves those of all. With
        METRICS_PORT=0 they are not served. Without a free port an error is logged.
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
            registry = self._all_processes(first) if port == first else self.registry
            try:
                server, _thread = start_http_server(
                    port, addr=self._settings.metrics_host, registry=registry
                )
            except OSError as error:
                log.debug("metrics_port_taken", port=port, error=str(error))
            else:
                if self._settings.environment == "development":
                    server.set_app(_only_for_local_hosts(make_wsgi_app(registry)))
                log.info("metrics_served", port=port)
                return server
        log.error("metrics_not_served", first=first, tried=METRICS_PORTS)
        return None

    def _all_processes(self, first: int) -> CollectorRegistry:
        number = self._settings.web_concurrency
        if number == 1:
            return self.registry
        everything = CollectorRegistry()
        everything.register(AllProcesses(self.registry, first, range(first + 1, first + number)))
        return everything


def _only_for_local_hosts(app: "WSGIApplication") -> "WSGIApplication":
    """Refuse a Host header that a web page could have.

    In development the port is reachable from the developer's browser. A web page can have a name of
    its own lead to 127.0.0.1 (DNS rebinding), and would read what the port answers. In production
    no browser reaches this port, and Prometheus may ask by any name.
    """

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if _is_local(environ.get("HTTP_HOST", "")):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [ASK_LOCALLY.encode()]

    return answer


def _is_local(host: str) -> bool:
    """Whether it is an address, or a name without a dot, such as localhost."""
    name = re.sub(r":\d*$", "", host).strip("[]")
    try:
        ip_address(name)
    except ValueError:
        return "." not in name
    return True
