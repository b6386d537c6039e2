"""GET /{slug}: the public redirect. `edge` answers the most common case faster."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import Response

from app.errors import BadRequest, DependencyUnavailable, Overloaded, RateLimited
from app.features.links.cache import Target
from app.features.links.edge import FIXED_HEADERS, FOLLOWED, SLUG_PATH, clicks_of
from app.features.links.errors import LinkExpired, LinkNotFound
from app.features.links.follower import Direct, Followed, NoAnswer, NotCached
from app.features.links.runtime import LinksRuntime, LinksRuntimeDep
from app.features.links.service import find_by_slug
from app.infra.db import Sessions, reading
from app.infra.feature import CatchAllRouter
from app.infra.http.limits import RateLimiter
from app.infra.http.peers import client_network
from app.infra.http.problems import responses
from app.infra.lifespan import ResourcesDep
from app.infra.redis import CircuitBreaker, RedisUnavailable

router = CatchAllRouter(
    tags=["redirect"],
    responses=responses(
        BadRequest, LinkNotFound, LinkExpired, RateLimited, DependencyUnavailable, Overloaded
    ),
)

SlugPath = Annotated[str, Path(description="The short name.")]


@router.get("/{slug}", status_code=302, response_class=Response)
async def follow_link(
    slug: SlugPath, request: Request, resources: ResourcesDep, runtime: LinksRuntimeDep
) -> Response:
    """Redirect to where the link leads now, and count the click."""
    if SLUG_PATH.fullmatch(f"/{slug}") is None:
        raise _not_found(
            slug
        )  # no link can have this slug: look it up neither in Redis nor Postgres
    found: Followed | str = getattr(request.state, FOLLOWED, "")
    if isinstance(found, str):
        found = await runtime.follower.follow(slug, clicks_of(request.method))
    with _counted_if_missed(request, resources.limiter, found):
        target = await _resolve(
            slug,
            found,
            clicks=clicks_of(request.method),
            runtime=runtime,
            sessions=resources.sessions,
            breaker=resources.breaker,
        )
    headers = {name.decode(): value.decode() for name, value in FIXED_HEADERS}
    return Response(status_code=302, headers={"Location": target.url, **headers})


@router.head("/{slug}", status_code=302, response_class=Response)
async def preview_link(
    slug: SlugPath, request: Request, resources: ResourcesDep, runtime: LinksRuntimeDep
) -> Response:
    """Say where the link leads, without counting a click."""
    return await follow_link(slug, request, resources, runtime)


@contextmanager
def _counted_if_missed(request: Request, limiter: RateLimiter, found: Followed) -> Iterator[None]:
    """Count a lookup in Postgres against the client's address, if no link is found.

    It is counted before, so that many at once can't exceed the limit. Raises `RateLimited`.
    """
    if isinstance(found, bytes):
        yield
        return
    network = client_network(request.scope)
    limiter.hit("miss", network)
    missed = False
    try:
        yield
    except LinkNotFound:
        missed = True
        raise
    finally:
        if not missed:
            limiter.give_back("miss", network)


async def _resolve(
    slug: str,
    found: Followed,
    *,
    clicks: int,
    runtime: LinksRuntime,
    sessions: Sessions,
    breaker: CircuitBreaker,
) -> Target:
    """The target, after its clicks were counted. Raises `LinkNotFound` or `LinkExpired`."""
    if isinstance(found, NotCached):
        found = await _fill_and_follow(
            slug, found.lease, clicks=clicks, runtime=runtime, sessions=sessions, breaker=breaker
        )
    if isinstance(found, bytes):
        return _read_entry(slug, found)
    batch = found.batch if isinstance(found, NoAnswer) else None
    link = await runtime.direct.follow(Direct(slug, clicks, batch))
    if link is None:
        raise _not_found(slug)
    if link.has_expired(datetime.now(UTC)):
        raise _expired(slug)
    return Target(str(link.id), link.url)


def _read_entry(slug: str, entry: bytes) -> Target:
    target = Target.of_entry(entry)
    if target is not None:
        return target
    if entry == b"expired":
        raise _expired(slug)
    raise _not_found(slug)


async def _fill_and_follow(
    slug: str,
    lease: str,
    *,
    clicks: int,
    runtime: LinksRuntime,
    sessions: Sessions,
    breaker: CircuitBreaker,
) -> Followed:
    """Write the row to the cache, if this request has the lease. Then follow the entry."""
    async with reading(sessions) as session:
        link = await find_by_slug(session, slug=slug)
    if link is None and not runtime.new_misses.take():
        raise _not_found(slug)
    try:
        await breaker.run(runtime.cache.fill(slug, link, lease=lease))
    except RedisUnavailable:
        return NoAnswer(batch=None)
    return await runtime.follower.follow(slug, clicks)


def _not_found(slug: str) -> LinkNotFound:
    return LinkNotFound(f"No link is called {slug[:64]!r}.")


def _expired(slug: str) -> LinkExpired:
    return LinkExpired(f"The link {slug!r} has expired.")
