"""The jobs that wait, run or have failed: counted by state, for the metrics and for operators."""

import asyncio
import time
from collections.abc import Sequence

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncSession

from app.infra.db import reading
from app.infra.feature import Backlog, Feature
from app.infra.lifespan import Resources

LOOK_EVERY = 15.0  # seconds; Prometheus looks as often


async def load_backlog(session: AsyncSession, features: Sequence[Feature]) -> list[Backlog]:
    """Of all features, in their order."""
    found: list[Backlog] = []
    for feature in features:
        if feature.work.backlog is not None:
            found += sorted(await feature.work.backlog(session))
    return found


class BacklogGauges:
    """The metrics of the backlog. A state without jobs has none."""

    def __init__(self, resources: Resources, features: Sequence[Feature]) -> None:
        self._sessions = resources.sessions
        self._features = features
        # Not `job`, which Prometheus sets to the name of what it scraped.
        labels, registry = ("task", "state"), resources.metrics.registry
        self._number = Gauge("drydock_jobs", "Jobs in this state.", labels, registry=registry)
        self._since = Gauge(
            "drydock_jobs_oldest_seconds",
            "Age of the oldest job in this state.",
            labels,
            registry=registry,
        )

    async def keep_up_to_date(self, _resources: Resources) -> None:
        """Look every fifteen seconds, until the worker stops."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        async with reading(self._sessions) as session:
            found = await load_backlog(session, self._features)
        self._number.clear()
        self._since.clear()
        for job, state, number, oldest in found:
            self._number.labels(job, state).set(number)
            self._since.labels(job, state).set(time.time() - oldest.timestamp())
