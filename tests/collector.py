"""A collector of traces: a real server that takes OTLP over HTTP, and keeps what it gets."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.util._once import Once

from app.config import Settings

LOCAL = "127.0.0.1"


@dataclass
class Collector:
    url: str
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]

    @property
    def spans(self) -> list[Span]:
        """All that arrived, in the order in which they began."""
        found = [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    def settings(self, settings: Settings, **changed: object) -> Settings:
        """These settings, with traces that go here."""
        return settings.model_copy(update={"otel_exporter_otlp_endpoint": self.url, **changed})


def attributes(span: Span) -> dict[str, str | int]:
    return {pair.key: pair.value.int_value or pair.value.string_value for pair in span.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            collector.headers.append({"path": self.path, **self.headers})
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    with pytest.MonkeyPatch.context() as patch, ThreadingHTTPServer((LOCAL, 0), Handler) as server:
        # A process has one provider for ever. Other tests must not get that of this one.
        patch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)
        patch.setattr("opentelemetry.trace._TRACER_PROVIDER_SET_ONCE", Once())
        collector = Collector(f"http://{LOCAL}:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
