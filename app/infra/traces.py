"""Traces: spans of requests, of jobs, and of what these ask Postgres and Redis, sent by OTLP.

The SDK and its exporter are imported only if OTEL_EXPORTER_OTLP_ENDPOINT is set. The API, which is
small, is imported by FastAPI anyway.

Spans hold no values: no parameters of SQL, no keys of Redis, no headers, no query strings, and no
messages of exceptions.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from sqlalchemy import event
from structlog.contextvars import bound_contextvars

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler
    from redis.asyncio import ConnectionPool
    from sqlalchemy import ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncEngine

    from app.config import Settings

# Each limit is for a collector that is away or slow. Spans are exported by a thread of their own.
MOST_SPANS = 2048  # that wait to be exported, about 3 MB; more are dropped
EXPORT_TIMEOUT = 2.0  # seconds
LONGEST_STOP = 1.5  # seconds to export the last spans
LONGEST_ATTRIBUTE = 2000  # characters, for the text of a query

PROPAGATOR = TraceContextTextMapPropagator()
VERB = re.compile(r"\w+")
TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+([\w.]+)", re.IGNORECASE)


def current_trace_id() -> str | None:
    """The id of the trace in which the caller is recorded; None without one."""
    span = trace.get_current_span()
    return f"{span.get_span_context().trace_id:032x}" if span.is_recording() else None


def trace_headers() -> dict[str, str]:
    """The header `traceparent` for a request to another service; empty without a trace.

    Whoever gets it continues the trace of the caller.
    """
    headers: dict[str, str] = {}
    PROPAGATOR.inject(headers)
    return headers


def summarize(statement: str) -> str:
    """What a query does, and with which table: SELECT tokens."""
    verb, table = VERB.search(statement), TABLE.search(statement)
    return " ".join([verb[0].upper() if verb else "QUERY", *([table[1]] if table else [])])


def mark_failed(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


class Traces:
    """Makes the spans of this process."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @classmethod
    @contextmanager
    def exported(cls, settings: "Settings") -> Iterator["Traces"]:
        """Traces whose spans are exported inside the block. It ends within `LONGEST_STOP`.

        Enter it after a fork: the thread that exports would stay in the parent.
        """
        provider = _make_provider(settings)
        # For libraries, and for `trace.get_tracer(__name__)` in features.
        trace.set_tracer_provider(provider)
        try:
            yield cls(provider.get_tracer("drydock", settings.git_sha))
        finally:
            # A thread, because the exporter may take longer, and does not know a limit.
            stop = threading.Thread(target=provider.shutdown, daemon=True)
            stop.start()
            stop.join(LONGEST_STOP)

    @contextmanager
    def entered(
        self, name: str, kind: SpanKind, carrier: Mapping[str, str], attributes: dict[str, str]
    ) -> Iterator[Span]:
        """The span of a request or a job. It continues the trace whose headers are in `carrier`.

        If it is recorded, each log line inside the block has its `trace_id`.
        """
        with trace.use_span(
            self._tracer.start_span(
                name, context=PROPAGATOR.extract(carrier), kind=kind, attributes=attributes
            ),
            end_on_exit=True,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            trace_id = current_trace_id()
            with bound_contextvars(**({"trace_id": trace_id} if trace_id else {})):
                try:
                    yield span
                except BaseException as error:
                    mark_failed(span, type(error).__qualname__)
                    raise

    def job(self, function: str, meta: Mapping[str, str]) -> Any:
        """`entered` for a job of the queue, which carries the headers in its `meta`."""
        attributes = {"messaging.system": "saq", "messaging.operation.name": "process"}
        return self.entered(f"process {function}", SpanKind.CONSUMER, meta, attributes)

    def _call(self, name: str, attributes: dict[str, str]) -> Span | None:
        """A span for a call to a server, if the caller is recorded. Loops that wait are not."""
        if not trace.get_current_span().is_recording():
            return None
        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

    @contextmanager
    def call(self, name: str, attributes: dict[str, str]) -> Iterator[None]:
        span = self._call(name, attributes)
        try:
            yield
        except BaseException as error:
            if span is not None:
                mark_failed(span, type(error).__qualname__)
            raise
        finally:
            if span is not None:
                span.end()

    def redis(self, pool: "ConnectionPool") -> Redis:
        client = TracedRedis.from_pool(pool)
        assert isinstance(client, TracedRedis), "from_pool makes what it is called on"
        client.traces = self
        return client

    def watch(self, engine: "AsyncEngine") -> None:
        """Trace the statements of an engine. Their text has placeholders for all values."""

        def begin(
            _connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: Any
        ) -> None:
            name = summarize(statement)
            attributes = {"db.query.summary": name, "db.query.text": statement}
            context.span = self._call(name, {"db.system.name": "postgresql", **attributes})

        def end(
            _connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: Any
        ) -> None:
            if context.span is not None:
                context.span.end()

        def fail(error: "ExceptionContext") -> None:
            span: Span | None = getattr(error.execution_context, "span", None)
            if span is not None:
                mark_failed(span, type(error.original_exception).__qualname__)
                span.end()

        event.listen(engine.sync_engine, "before_cursor_execute", begin)
        event.listen(engine.sync_engine, "after_cursor_execute", end)
        event.listen(engine.sync_engine, "handle_error", fail)


class TracedRedis(Redis):
    traces: Traces

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        name = str(args[0])
        with self.traces.call(name, {"db.system.name": "redis", "db.operation.name": name}):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call] # redis-py's

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002 -- redis-py's signature
        pipeline = TracedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipeline.traces = self.traces
        return pipeline


class TracedPipeline(Pipeline):
    traces: Traces

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 -- redis-py's signature
        name = "PIPELINE"
        with self.traces.call(name, {"db.system.name": "redis", "db.operation.name": name}):
            return await super().execute(raise_on_error)


def _make_provider(settings: "Settings") -> "TracerProvider":
    # These take 0.2 s and 15 MB, which a process without traces saves.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415

    secret = settings.otel_exporter_otlp_headers
    exporter = OTLPSpanExporter(
        f"{settings.otel_exporter_otlp_endpoint}/v1/traces",
        headers=parse_env_headers(secret.get_secret_value(), liberal=True) if secret else None,
        timeout=EXPORT_TIMEOUT,
    )
    about = {
        "service.name": settings.otel_service_name,
        "service.version": settings.git_sha,
        "deployment.environment.name": settings.environment,
    }
    provider = TracerProvider(
        sampler=_make_sampler(settings),
        resource=Resource.create(about),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_span_attribute_length=LONGEST_ATTRIBUTE),
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=MOST_SPANS))
    return provider


def _make_sampler(settings: "Settings") -> "Sampler":
    from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415
        ALWAYS_OFF,
        ALWAYS_ON,
        ParentBased,
        TraceIdRatioBased,
    )

    kinds: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(settings.otel_traces_sampler_arg),
    }
    name = settings.otel_traces_sampler
    kind = kinds[name.removeprefix("parentbased_")]
    return ParentBased(kind) if name.startswith("parentbased_") else kind
