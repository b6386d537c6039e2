"""The objects of this feature that live as long as the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends

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


@dataclass(frozen=True)
class LinksRuntime:
    cache: LinkCache
    follower: Follower
    direct: DirectFollower
    streams: Streams
    uploads: Places
    new_misses: EachSecond


@asynccontextmanager
async def open_runtime(resources: Resources) -> AsyncIterator[LinksRuntime]:
    cache = LinkCache(resources.redis, ttl=resources.settings.of(LinksSettings).cache_ttl)
    follower = Follower(cache, resources.breaker)
    direct = DirectFollower(resources.sessions)
    streams = Streams(resources.sessions)
    yield LinksRuntime(
        cache,
        follower,
        direct,
        streams,
        uploads=Places(UPLOADS),
        new_misses=EachSecond(MOST_NEW_MISSES),
    )
    for batches in (follower, direct, streams):
        await batches.close()


def runtime_of(resources: Resources) -> LinksRuntime:
    return cast("LinksRuntime", resources.features[NAME])


async def _get_runtime(resources: ResourcesDep) -> LinksRuntime:
    return runtime_of(resources)


LinksRuntimeDep = Annotated[LinksRuntime, Depends(_get_runtime)]
