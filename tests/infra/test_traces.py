"""Traces: what a collector gets of requests and jobs, and that none can hurt the service."""

import asyncio
import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog
from fastapi import APIRouter
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from redis.exceptions import ResponseError
from sqlalchemy import text

from app.config import Settings
from app.infra.db import SessionDep
from app.infra.feature import Feature, Work
from app.infra.lifespan import ResourcesDep
from app.infra.logs import Seldom
from app.infra.queue import JobContext, make_queue
from app.infra.redis import make_redis
from app.infra.traces import summarize
from app.worker import run_worker
from tests.collector import Collector, attributes, collecting
from tests.live import ROOT, Live, run_service
from tests.logs import captured_logs, named
from tests.polling import PATIENCE, eventually, until
from tests.service import Service, environment_for
from tests.sockets import frozen_server, unused_port

# SAQ is behind redis-py, which would like another command's name, and behind Python 3.14.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{old}:DeprecationWarning")
    for old in ("Call to deprecated setex", "'asyncio.iscoroutinefunction' is deprecated")
]

SECRET = "s3cret-7f1c"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
SERVER, CLIENT, CONSUMER = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_CONSUMER

routes = APIRouter()


async def load(context: JobContext, *, cargo: str) -> None:
    structlog.get_logger().info("loading")
    await context["resources"].redis.set("drydock:hold", cargo)
    if cargo == "sand":
        raise LookupError(SECRET)


@routes.post("/ships/{name}")
async def dock(name: str, session: SessionDep, resources: ResourcesDep, cargo: str = "tea") -> str:
    structlog.get_logger().info("docking")
    await session.execute(text("SELECT 1 FROM pg_class WHERE relname = :name"), {"name": name})
    await resources.redis.set(f"drydock:{name}", SECRET, ex=60)
    async with resources.redis.pipeline(transaction=False) as pipeline:
        pipeline.delete(f"drydock:{name}")
        await pipeline.execute()
    await resources.enqueuer.enqueue(load, cargo=cargo)
    return name


@routes.get("/wrecks/{name}")
async def fail(name: str, session: SessionDep, resources: ResourcesDep) -> None:
    await resources.redis.set("drydock:wreck", name, ex=60)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await resources.redis.lpush("drydock:wreck", name)
    await session.execute(text("SELECT cast(:name AS integer)"), {"name": name})


FEATURE = Feature(name="ships", routers=[routes], work=Work(jobs=[load]))


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@asynccontextmanager
async def traced(settings: Settings) -> AsyncIterator[Live]:
    """The service and a worker with the feature above. When both have ended, all is exported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.main.FEATURES", (FEATURE,))
        patch.setattr("app.worker.FEATURES", (FEATURE,))
        worker = asyncio.create_task(run_worker(settings))
        async with make_redis(settings) as redis:
            queue = make_queue(redis)

            async def is_there() -> bool:
                if worker.done():
                    await worker  # raises what ended it
                return bool((await queue.info())["workers"])

            async def is_idle() -> bool:
                return not await queue.count("incomplete")

            await eventually("a worker", is_there)
            async with run_service(settings) as live:
                yield live
            await eventually("no job is left", is_idle)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(worker, PATIENCE)


def tree(spans: list[Span], parent: bytes = b"") -> list[Any]:
    """The names of the spans, each with its children behind it."""
    found: list[Any] = []
    for span in spans:
        # Redis asks for a script once.
        if span.parent_span_id == parent and span.name not in {"EVALSHA", "SCRIPT LOAD"}:
            found += [span.name, *([children] if (children := tree(spans, span.span_id)) else [])]
    return found


class TestTree:
    """A request is one tree: what it asked Postgres and Redis, and the job that it started."""

    async def test_it(self, own_settings: Settings, collector: Collector) -> None:
        settings = collector.settings(own_settings, git_sha="0a1b2c3", otel_service_name="ships")
        async with traced(settings) as live:
            assert (await live.client.post("/ships/ada")).status_code == 200
        assert tree(collector.spans) == [
            "POST /ships/{name}",
            ["SELECT pg_class", "SET", "PIPELINE", "process load", ["SET"]],
        ]
        assert len({span.trace_id for span in collector.spans}) == 1
        kinds = {span.name: span.kind for span in collector.spans}
        assert kinds.pop("POST /ships/{name}") == SERVER
        assert kinds.pop("process load") == CONSUMER
        assert set(kinds.values()) == {CLIENT}
        request, query, command, *_ = collector.spans
        assert attributes(request) == {
            "http.request.method": "POST",
            "http.route": "/ships/{name}",
            "http.response.status_code": 200,
            "url.path": "/ships/ada",
            "url.scheme": "http",
        }
        assert attributes(query) == {
            "db.system.name": "postgresql",
            "db.query.summary": "SELECT pg_class",
            "db.query.text": "SELECT 1 FROM pg_class WHERE relname = %(name)s",
        }
        assert attributes(command) == {"db.system.name": "redis", "db.operation.name": "SET"}
        resource = collector.requests[0].resource_spans[0].resource
        about = {pair.key: pair.value.string_value for pair in resource.attributes}
        assert (about["service.name"], about["service.version"]) == ("ships", "0a1b2c3")

    async def test_a_callers_trace_is_continued(
        self, own_settings: Settings, collector: Collector
    ) -> None:
        headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
        async with traced(collector.settings(own_settings)) as live:
            await live.client.post("/ships/ada", headers=headers)
            await live.client.post("/ships/eve", headers={"traceparent": "nonsense"})
        first, *_, other = collector.spans
        assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
        assert other.trace_id.hex() != TRACE_ID

    async def test_probes_and_background_work_are_not_in_it(
        self, own_settings: Settings, collector: Collector
    ) -> None:
        settings = collector.settings(own_settings)
        async with traced(settings) as live:
            for path in ("/health", "/health/live", "/health/ready"):
                assert (await live.client.get(path)).status_code in {200, 503}
            async with live.resources.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        assert collector.spans == []


class TestFailures:
    """A span says that it failed, and the kind of the error. Its message stays in the log."""

    async def test_a_request(self, own_settings: Settings, collector: Collector) -> None:
        async with traced(collector.settings(own_settings)) as live:
            assert (await live.client.get(f"/wrecks/{SECRET}")).status_code == 500
        found = {span.name: span for span in collector.spans}
        kinds = {name: attributes(span).get("error.type") for name, span in found.items()}
        assert kinds == {
            "GET /wrecks/{name}": "500",
            "SET": None,
            "LPUSH": "ResponseError",
            "SELECT": "InvalidTextRepresentation",
        }
        failed = {name for name, s in found.items() if s.status.code == Status.STATUS_CODE_ERROR}
        assert failed == {name for name, kind in kinds.items() if kind}
        assert not any(span.status.message or span.events for span in collector.spans)

    async def test_a_job(self, own_settings: Settings, collector: Collector) -> None:
        settings = collector.settings(own_settings)
        async with traced(settings) as live:
            await live.client.post("/ships/ada", params={"cargo": "sand"})
        tries = [span for span in collector.spans if span.kind == CONSUMER]
        assert len(tries) == 3
        assert {attributes(span)["error.type"] for span in tries} == {"LookupError"}
        assert len({span.trace_id for span in collector.spans}) == 1

    async def test_a_refused_request_has_no_route(
        self, own_settings: Settings, collector: Collector
    ) -> None:
        async with traced(collector.settings(own_settings)) as live:
            await live.client.request("BREW", "/ships", headers={"Host": "elsewhere"})
        (span,) = collector.spans
        assert span.name == "HTTP"
        assert span.status.code == Status.STATUS_CODE_UNSET
        assert attributes(span)["http.request.method"] == "_OTHER"
        assert attributes(span)["http.response.status_code"] == 400


class TestSecrets:
    """No byte that is exported holds a header, a query's value, a body, or data."""

    async def test_it(self, own_settings: Settings, collector: Collector) -> None:
        settings = collector.settings(own_settings)
        async with traced(settings) as live:
            for method, path in (("POST", "/ships/ada"), ("GET", "/api/v1/nowhere")):
                await live.client.request(
                    method,
                    f"{path}?cargo=sand&token={SECRET}",
                    headers={"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}"},
                    content=SECRET,
                )
        assert len(collector.spans) >= 6
        everything = b"".join(collector.bodies)
        for secret in (SECRET, "Bearer", "cargo", "drydock:ada", "drydock:hold"):
            assert secret.encode() not in everything

    async def test_the_headers_of_the_collector_are_sent(
        self, own_settings: Settings, collector: Collector
    ) -> None:
        settings = Settings.model_validate(
            {
                **own_settings.model_dump(),
                "otel_exporter_otlp_endpoint": f"{collector.url}/",
                "otel_exporter_otlp_headers": f"api-key={SECRET},tenant=a%20b",
            }
        )
        assert SECRET not in repr(settings)
        async with traced(settings) as live:
            await live.client.get("/api/v1/nowhere")
        (headers,) = collector.headers
        assert headers["path"] == "/v1/traces"
        assert (headers["api-key"], headers["tenant"]) == (SECRET, "a b")


class TestIds:
    """Log lines and problem documents of a request, and log lines of its job, name the trace."""

    async def test_it(self, own_settings: Settings, collector: Collector) -> None:
        settings = collector.settings(own_settings)
        async with traced(settings) as live:
            with captured_logs() as events:
                await live.client.post("/ships/ada")
                problem = (await live.client.get("/api/v1/nowhere")).json()
                await eventually("the job", lambda: is_logged(events, "loading"))
                structlog.get_logger().info("afterwards")
        first, last = [s.trace_id.hex() for s in collector.spans if s.kind == SERVER]
        assert problem["trace_id"] == last
        assert [line["trace_id"] for line in named(events, "request")] == [first, last]
        for name in ("docking", "loading"):
            assert [line["trace_id"] for line in named(events, name)] == [first]
        assert "trace_id" not in named(events, "afterwards")[0]

    async def test_without_traces_there_is_none(self, own_settings: Settings) -> None:
        async with traced(own_settings) as live:
            with captured_logs() as events:
                problem = (await live.client.get("/api/v1/nowhere")).json()
        assert "trace_id" not in problem
        assert "trace_id" not in named(events, "request")[0]


async def is_logged(events: list[dict[str, Any]], name: str) -> bool:
    return bool(named(events, name))


class TestSampling:
    """OTEL_TRACES_SAMPLER decides which requests are recorded."""

    @pytest.mark.parametrize(
        ("sampler", "argument", "flag", "recorded"),
        [
            ("always_off", 1.0, None, False),
            ("always_on", 0.0, "00", True),
            ("traceidratio", 0.0, "01", False),
            ("parentbased_always_on", 1.0, "00", False),
            ("parentbased_always_off", 1.0, "01", True),
            ("parentbased_traceidratio", 0.0, None, False),
            ("parentbased_traceidratio", 1.0, None, True),
        ],
    )
    async def test_it(
        self,
        own_settings: Settings,
        collector: Collector,
        sampler: str,
        argument: float,
        flag: str | None,
        recorded: bool,  # noqa: FBT001 -- pytest passes it by name
    ) -> None:
        settings = collector.settings(
            own_settings, otel_traces_sampler=sampler, otel_traces_sampler_arg=argument
        )
        headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-{flag}"} if flag else {}
        async with traced(settings) as live:
            with captured_logs() as events:
                await live.client.post("/ships/ada", headers=headers)
        assert bool(collector.spans) is recorded
        assert ("trace_id" in named(events, "request")[0]) is recorded


class TestCollectorAway:
    """A collector that is away or silent delays no request, and the stop by 2 s at most."""

    @pytest.mark.parametrize(
        ("server", "kind"), [("uvicorn", "refuses"), ("gunicorn", "is silent")]
    )
    def test_it(self, service: Service, server: Any, kind: str) -> None:
        with frozen_server() as port:
            dead = port if kind == "is silent" else unused_port()
            app = service.another_app(
                server=server,
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead}",
                OTEL_BSP_SCHEDULE_DELAY="100",
            )
            app.wait_until("/health/ready")
            with app.client() as client:
                ended = time.monotonic() + 3
                took = []
                while time.monotonic() < ended:
                    started = time.perf_counter()
                    assert client.get("/api/v1/tokens").status_code == 200
                    took.append(time.perf_counter() - started)
            assert sorted(took)[len(took) // 2] < 0.1
            started = time.monotonic()
            app.terminate()
            assert app.wait() in {0, -signal.SIGTERM}  # gunicorn's, uvicorn's
            assert time.monotonic() - started < 5
        output = app.output().rpartition("Waiting for application startup.")[2]
        lines = [json.loads(line) for line in output.splitlines() if line[:1] == "{"]
        about = [line for line in lines if line.get("logger", "").startswith("opentelemetry")]
        kinds = [re.sub(r"\b(error|code).*|\d.*", "", line["event"]) for line in about]
        assert any("Failed" in kind or "Transient" in kind for kind in kinds)
        assert len(kinds) == len(set(kinds)), kinds  # each at most once in these seconds
        assert "Traceback" not in output


class TestProcesses:
    """Each process that gunicorn forks exports its own spans."""

    def test_it(self, service: Service, collector: Collector) -> None:
        app = service.another_app(
            server="gunicorn",
            WEB_CONCURRENCY="2",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="100",
        )
        app.wait_until("/health/ready")

        def instances() -> bool:
            with httpx.Client(base_url=app.url) as client:  # a new connection, maybe to the other
                assert client.get("/api/v1/tokens").status_code == 401
            resources = [r.resource_spans[0].resource for r in collector.requests]
            return len({resource.SerializeToString() for resource in resources}) == 2

        until(instances)


OFF = """
import asyncio, sys

from app.main import create_app
from app.registry import load_settings
from tests.live import run_service

async def main():
    async with run_service(load_settings()) as live:
        assert (await live.client.get("/api/v1/tokens")).status_code == 401

asyncio.run(main())
print(*sorted(sys.modules))
"""


class TestOff:
    """Without an endpoint, neither the tracing of the SDK nor an exporter is loaded.

    FastAPI loads the API, and redis-py the SDK's metrics, whether they are used or not.
    """

    def test_it(self, own_settings: Settings) -> None:
        environment = environment_for(
            own_settings.database_dsn,
            own_settings.redis_dsn,
            LOG_LEVEL="error",
            ALLOWED_HOSTS="testserver",
            OTEL_EXPORTER_OTLP_ENDPOINT="",
        )
        done = subprocess.run(
            [sys.executable, "-c", OFF],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        loaded = set(done.stdout.split())
        assert "app.main" in loaded
        names = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "requests", "google.protobuf")
        assert not loaded & set(names)


class TestSummary:
    """The name of a query's span has its verb and its table."""

    @pytest.mark.parametrize(
        ("statement", "name"),
        [
            ("SELECT a, b FROM public.ships WHERE a = %(a)s FOR UPDATE", "SELECT public.ships"),
            ("\n  insert into ships (a) values (%(a)s)", "INSERT ships"),
            ("UPDATE ships SET a = %(a)s FROM others", "UPDATE ships"),
            ("DELETE FROM ships", "DELETE ships"),
            ("SELECT 1", "SELECT"),
            ("", "QUERY"),
        ],
    )
    def test_it(self, statement: str, name: str) -> None:
        assert summarize(statement) == name


class TestSeldom:
    """Each of OpenTelemetry's own messages is logged once a minute, without a stack trace."""

    def test_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [1000.0]
        monkeypatch.setattr("app.infra.logs.time.monotonic", lambda: now[0])
        seldom = Seldom()

        def passes(message: str) -> bool:
            record = logging.LogRecord("o", 40, "f", 1, message, None, (None, None, None))
            return seldom.filter(record) and record.exc_info is None

        assert [passes(message) for message in ("%s is away", "full", "%s is away")] == [
            *(True, True, False),
        ]
        now[0] += 61
        assert passes("%s is away")
