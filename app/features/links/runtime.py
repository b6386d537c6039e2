"""The objects of this feature that live as long as the process."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from prometheus_client import Gauge

from app.features.links.cache import LinkCache
from app.features.links.errors import TooManyImports
from app.features.links.follower import DirectFollower, Follower
from app.features.links.places import EachSecond, Limit, Places
from app.features.links.progress import Streams
from app.features.links.settings import LinksSettings
from app.infra.lifespan import Resources, ResourcesDep

NAME = "links"
# Entries of the cache for slugs that do not exist. Each is a write that Redis syncs to its disk.
MOST_NEW_MISSES = 100  # in a second, by a process
# An upload takes some megabytes of memory, for its pieces on their way.
UPLOADS = Limit("uploads", most=16, most_of_a_token=3, error=TooManyImports)


class RollUpLag:
    """How far the worker is behind with counting clicks, in seconds; 0 in other processes."""

    def __init__(self) -> None:
        self._caught_up: float | None = None

    def caught_up(self) -> None:
        self._caught_up = time.monotonic()

    def seconds(self) -> float:
        return 0.0 if self._caught_up is None else time.monotonic() - self._caught_up


@dataclass(frozen=True)
class LinksRuntime:
    cache: LinkCache
    follower: Follower
    direct: DirectFollower
    streams: Streams
    uploads: Places
    new_misses: EachSecond
    lag: RollUpLag


@asynccontextmanager
async def open_runtime(resources: Resources) -> AsyncIterator[LinksRuntime]:
    cache = LinkCache(resources.redis, ttl=resources.settings.of(LinksSettings).cache_ttl)
    follower = Follower(cache, resources.breaker)
    direct = DirectFollower(resources.sessions)
    streams = Streams(resources.sessions)
    lag = RollUpLag()
    Gauge(
        "drydock_clicks_lag_seconds",
        "How long ago the worker last had counted all clicks.",
        registry=resources.metrics.registry,
    ).set_function(lag.seconds)
    yield LinksRuntime(
        cache,
        follower,
        direct,
        streams,
        uploads=Places(UPLOADS),
        new_misses=EachSecond(MOST_NEW_MISSES),
        lag=lag,
    )
    for batches in (follower, direct, streams):
        await batches.close()


def runtime_of(resources: Resources) -> LinksRuntime:
    return cast("LinksRuntime", resources.features[NAME])


async def _get_runtime(resources: ResourcesDep) -> LinksRuntime:
    return runtime_of(resources)


LinksRuntimeDep = Annotated[LinksRuntime, Depends(_get_runtime)]
