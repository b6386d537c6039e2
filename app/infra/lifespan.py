"""The resources of a process, the same for web and worker. They live as long as the process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, TypedDict

import structlog
from fastapi import Depends, Request
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings
from app.infra.db import Sessions, make_engine, make_sessions
from app.infra.http.limits import RateLimiter
from app.infra.jobs import JobControl
from app.infra.metrics import Metrics
from app.infra.queue import Enqueuer
from app.infra.redis import LONGEST_STALL, CircuitBreaker, make_redis
from app.infra.traces import Traces
from app.infra.vitals import Vitals, measured_loop

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Resources:
    """Everything that is opened once and shared by requests and jobs."""

    settings: Settings
    engine: AsyncEngine
    sessions: Sessions
    redis: Redis
    breaker: CircuitBreaker
    enqueuer: Enqueuer
    limiter: RateLimiter
    metrics: Metrics
    traces: Traces | None  # None without OTEL_EXPORTER_OTLP_ENDPOINT
    # The runtime of each feature, by its name. `open_features` fills this, and `jobs`.
    features: dict[str, object] = field(default_factory=dict)
    jobs: list[JobControl] = field(default_factory=list)


class State(TypedDict):
    """The attributes of `request.state`."""

    resources: Resources


@asynccontextmanager
async def open_resources(
    settings: Settings,
    *,
    name: str,
    metrics: Metrics,
    checkout_limit: float | None = None,
) -> AsyncIterator[Resources]:
    """Open everything, and close it in the reverse order. Nothing connects before its first use."""
    async with AsyncExitStack() as stack:
        # First, so that it ends last, and exports the spans of everything else.
        traces = stack.enter_context(Traces.exported(settings)) if settings.traced else None
        engine = make_engine(settings, name=name, checkout_limit=checkout_limit)
        if traces is not None:
            traces.watch(engine)
        stack.push_async_callback(engine.dispose)
        # The breaker's limit comes first. It does not count the time in which the loop stalls.
        limit = settings.redis_timeout + LONGEST_STALL
        redis = make_redis(settings, timeout=limit, traces=traces)
        stack.push_async_callback(redis.aclose)
        breaker = CircuitBreaker(settings.redis_timeout, on_open=metrics.redis_failures.inc)
        metrics.registry.register(Vitals(engine, breaker))
        await stack.enter_async_context(measured_loop(metrics))
        stack.enter_context(metrics.served())
        resources = Resources(
            settings=settings,
            engine=engine,
            sessions=make_sessions(engine),
            redis=redis,
            breaker=breaker,
            enqueuer=Enqueuer(redis, breaker),
            limiter=RateLimiter(settings, redis, breaker, on_refusal=metrics.count_refusal),
            metrics=metrics,
            traces=traces,
        )
        log.info("started", process=name, version=settings.git_sha)
        yield resources
        log.info("stopping", process=name)


async def get_resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]
