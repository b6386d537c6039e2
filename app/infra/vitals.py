"""The state of a process for Prometheus: its pool, the circuit breaker, and its event loop.

The pool and the breaker are read when Prometheus asks, so they cost a request nothing. Names follow
OpenTelemetry's conventions for databases.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from app.infra.cancelling import cancel_all
from app.infra.metrics import Metrics
from app.infra.pool import FairPool
from app.infra.redis import CircuitBreaker

LOOK_EVERY = 0.25  # seconds
LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Vitals(Collector):
    """What the pool and the breaker know of themselves."""

    def __init__(self, engine: AsyncEngine, breaker: CircuitBreaker) -> None:
        self._engine = engine
        self._breaker = breaker

    def collect(self) -> Iterable[Metric]:
        pool = self._engine.pool  # another one after `dispose`
        if isinstance(pool, FairPool):
            yield from _describe(pool)
        works = GaugeMetricFamily(
            "drydock_redis_available", "1, or 0 while the process goes on without Redis."
        )
        works.add_metric([], 0 if self._breaker.failing else 1)
        yield works


def _describe(pool: FairPool) -> Iterable[Metric]:
    prefix = "db_client_connection"
    count = GaugeMetricFamily(
        f"{prefix}_count", "Connections to Postgres, by state.", labels=[f"{prefix}_state"]
    )
    count.add_metric(["used"], pool.checkedout())
    count.add_metric(["idle"], pool.checkedin())
    yield count
    yield GaugeMetricFamily(f"{prefix}_max", "Connections that there may be.", pool.size())
    yield GaugeMetricFamily(
        f"{prefix}_pending_requests", "Those who wait for a connection.", pool.waiting
    )
    yield SummaryMetricFamily(
        f"{prefix}_wait_time_seconds",
        "How long those who had to wait have waited for a connection.",
        count_value=pool.waits,
        sum_value=pool.waited,
    )
    yield CounterMetricFamily(
        f"{prefix}_timeouts", "Those who waited in vain, or were too many.", pool.refused
    )


@asynccontextmanager
async def measured_loop(metrics: Metrics) -> AsyncIterator[None]:
    """Inside the block, measure four times a second how late the event loop is.

    A lag of half a second means that everything in the process waited that long, because something
    computed or blocked instead of awaiting.
    """
    lag = Histogram(
        "drydock_event_loop_lag_seconds",
        "How late a timer of the event loop was.",
        buckets=LAG_BUCKETS,
        registry=metrics.registry,
    )
    task = asyncio.create_task(_measure(lag))
    try:
        yield
    finally:
        await cancel_all([task])


async def _measure(lag: Histogram) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_EVERY
        await asyncio.sleep(LOOK_EVERY)
        lag.observe(max(0.0, loop.time() - due))
