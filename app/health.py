"""Health checks: live, ready for traffic, and the whole report.

The checks use connections of their own, so a busy pool does not look like a database that is down.
`app.infra.probes` limits how often and how long each check runs.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Self

import psycopg
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel
from redis.asyncio import Redis

from app.config import Settings
from app.features.tokens.auth import caller_of
from app.features.tokens.known import Caller
from app.infra.connecting import connect_arguments, open_connection
from app.infra.db import is_unavailable
from app.infra.lifespan import Resources
from app.infra.probes import LIMIT, Check, Probe, Status, finish_within, ignore_result
from app.infra.queue import HEARTBEAT_STALE, heartbeat_age
from app.infra.redis import make_redis
from app.infra.schema import list_revisions


class Report(BaseModel):
    status: Status
    version: str
    checks: dict[str, Check] = {}

    def without_details(self) -> "Report":
        checks = {name: Check(status=check.status) for name, check in self.checks.items()}
        return Report(status=self.status, version=self.version, checks=checks)


def shows_details(settings: Settings, caller: Caller | None) -> bool:
    """Whether a report for this caller has latencies, revisions and reasons.

    In production nobody else sees them. They tell how busy the service is and why it fails.
    """
    return settings.environment == "development" or caller is not None


class Health:
    """The probes and their connections."""

    def __init__(self, resources: Resources, redis: Redis) -> None:
        settings = resources.settings
        self.version = settings.git_sha
        self._accept_newer_schema = settings.accept_newer_schema
        self._revisions = list_revisions()
        self._conninfo = connect_arguments(settings, name="drydock-health", limit=LIMIT)
        self._pooled = settings.database_pooled
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()
        self._redis = redis
        checks = {
            "postgres": self._check_postgres,
            "migrations": self._check_migrations,
            "redis": self._check_redis,
            "worker": self._check_worker,
        }
        self._probes = {name: Probe(name, check) for name, check in checks.items()}

    @classmethod
    @asynccontextmanager
    async def opened(cls, resources: Resources) -> AsyncIterator[Self]:
        redis = make_redis(resources.settings, timeout=LIMIT, size=4)
        health = cls(resources, redis)
        try:
            yield health
        finally:
            health._disconnect()
            await redis.aclose()

    async def report(self, *names: str) -> Report:
        """Run the named checks, or else all, concurrently."""
        chosen = names or tuple(self._probes)
        found = await asyncio.gather(*(self._probes[name]() for name in chosen))
        checks = dict(zip(chosen, found, strict=True))
        return Report(status=_worst(checks), version=self.version, checks=checks)

    async def _check_postgres(self) -> Check:
        ((read_only,),) = await self._query("SHOW transaction_read_only")
        if read_only == "on":
            self._disconnect()  # the next check may find another host
            error = "the server is read-only: requests that change something answer 503"
            return Check(status=Status.DEGRADED, error=error)
        return Check(status=Status.OK)

    async def _check_migrations(self) -> Check:
        exists = await self._query("SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL")
        rows = await self._query("SELECT version_num FROM alembic_version") if exists else []
        found = ", ".join(row[0] for row in rows) or None
        needed = self._revisions[-1]
        if found == needed:
            return Check(status=Status.OK, revision=found)
        error = f"the schema is at {found or 'no revision'}, this code needs {needed}"
        if found and found not in self._revisions and self._accept_newer_schema:
            return Check(status=Status.DEGRADED, revision=found, error=error)
        error += ": run `python -m app migrate` or deploy the version that fits"
        return Check(status=Status.UNAVAILABLE, revision=found, error=error)

    async def _check_redis(self) -> Check:
        await self._redis.ping()
        return Check(status=Status.OK)

    async def _check_worker(self) -> Check:
        age = await heartbeat_age(self._redis)
        if age is None or age > HEARTBEAT_STALE:
            seen = "never" if age is None else f"{age:.0f} s ago"
            # Jobs wait and nothing is lost, so this is no reason to answer 503.
            return Check(status=Status.DEGRADED, error=f"worker last seen: {seen}")
        return Check(status=Status.OK)

    async def _query(self, query: str) -> list[tuple[Any, ...]]:
        """Run one query on the connection that is kept open, or on a new one."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is None or connection.broken or connection.closed:
                connection = await self._connect()
            try:
                rows = await _fetch(connection, query)
            except psycopg.OperationalError:
                # The server may have restarted since the last query, and work again by now.
                connection = await self._connect()
                rows = await _fetch(connection, query)
            self._connection = connection
            return rows

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.pgconn.finish()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await open_connection(self._conninfo, limit=LIMIT, pooled=self._pooled)


async def _fetch(connection: psycopg.AsyncConnection[Any], query: str) -> list[tuple[Any, ...]]:
    """Run the query. Close the connection if the query fails or is cancelled.

    After a cancellation psycopg waits up to ten seconds for the server to cancel the query. This
    function does not wait for that: the caller holds a lock, and later checks would fail although
    the server is back.
    """

    async def run() -> list[tuple[Any, ...]]:
        try:
            return await (await connection.execute(query)).fetchall()
        except BaseException:
            connection.pgconn.finish()
            raise

    task = asyncio.create_task(run())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        task.add_done_callback(ignore_result)
        raise


def _worst(checks: dict[str, Check]) -> Status:
    statuses = [check.status for check in checks.values()]
    return max(statuses, key=list(Status).index, default=Status.OK)


async def _get_health(request: Request) -> Health:
    health: Health = request.state.health
    return health


HealthDep = Annotated[Health, Depends(_get_health)]

# Many monitors ask with HEAD.
health_router = APIRouter(prefix="/health", tags=["health"])
UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"model": Report}}


@health_router.head("/live", include_in_schema=False)
@health_router.get("/live", response_model_exclude_none=True)
async def live(request: Request) -> Report:
    """The process answers. No dependency is checked, since a restart would not repair one."""
    return Report(status=Status.OK, version=request.app.version)


@health_router.head("/ready", include_in_schema=False)
@health_router.get("/ready", responses=UNAVAILABLE, response_model_exclude_none=True)
async def ready(health: HealthDep, request: Request, response: Response) -> Report:
    """Ready for traffic? 503 while Postgres fails, or while its schema does not fit this code.

    Without Redis the answer is `degraded` with status 200, because requests work without it.
    """
    report = await _report(health, request, "postgres", "migrations", "redis")
    if report.checks["redis"].status is not Status.OK:
        needed = {name: check for name, check in report.checks.items() if name != "redis"}
        report.status = max(_worst(needed), Status.DEGRADED, key=list(Status).index)
    return _answer(report, response)


@health_router.head("", include_in_schema=False)
@health_router.get("", responses=UNAVAILABLE, response_model_exclude_none=True)
async def health(health: HealthDep, request: Request, response: Response) -> Report:
    """All checks, for people and monitors. 503 if one of them fails.

    In production, latencies, revisions and reasons need a token, whatever its scopes.
    """
    return _answer(await _report(health, request), response)


async def _report(health: Health, request: Request, *names: str) -> Report:
    report, caller = await asyncio.gather(health.report(*names), _caller(request))
    resources: Resources = request.state.resources
    return report if shows_details(resources.settings, caller) else report.without_details()


async def _caller(request: Request) -> Caller | None:
    """Whose token it is. None without one, and if Postgres can't tell in time."""
    finished = await finish_within(LIMIT, caller_of(request))
    error = None if finished is None else finished.exception()
    if finished is None or (error is not None and is_unavailable(error)):
        return None
    return finished.result()


def _answer(report: Report, response: Response) -> Report:
    response.headers["Cache-Control"] = "no-store"
    if report.status is Status.UNAVAILABLE:
        response.status_code = 503
        response.headers["Retry-After"] = "1"
    return report
