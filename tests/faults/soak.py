"""A soak: mixed traffic for as long as SOAK_SECONDS says, while a random part of the service fails.

SOAK_SEED chooses the faults, their order and their length, so the same seed makes the same ones.
The traffic and its books are the feature's: this module knows only the service's processes.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

import httpx

from dev.processes import members, send
from tests.faults.away import demoted, frozen, out_of_memory, stopped
from tests.service import Program, Service

log = logging.getLogger(__name__)

SECONDS = float(os.environ.get("SOAK_SECONDS") or 0)
SEED = int(os.environ.get("SOAK_SEED") or random.randrange(2**32))

PAUSE = (1.0, 4.0)  # seconds between two faults
LENGTH = (0.3, 4.0)  # seconds that a fault lasts
LATEST = 60.0  # seconds after the traffic's end in which a request must succeed

Break = Callable[[Service], AbstractAsyncContextManager[None]]
Send = Callable[[], Awaitable[httpx.Response]]


@asynccontextmanager
async def killed_redis(service: Service) -> AsyncIterator[None]:
    await asyncio.to_thread(service.redis.kill)
    yield
    await asyncio.to_thread(service.redis.start)


@asynccontextmanager
async def killed_postgres(service: Service) -> AsyncIterator[None]:
    await asyncio.to_thread(service.postgres.kill)
    yield
    await asyncio.to_thread(service.postgres.start)


def killed(choose: Callable[[Service], Program]) -> Break:
    @asynccontextmanager
    async def breaks(service: Service) -> AsyncIterator[None]:
        await asyncio.to_thread(choose(service).kill)
        yield
        choose(service).start()

    return breaks


def suspended(choose: Callable[[Service], Program]) -> Break:
    @asynccontextmanager
    async def breaks(service: Service) -> AsyncIterator[None]:
        pids = members([choose(service).process.pid])
        send(pids, signal.SIGSTOP)
        try:
            yield
        finally:  # nothing else repairs it
            send(pids, signal.SIGCONT)

    return breaks


def restarted(choose: Callable[[Service], Program]) -> Break:
    @asynccontextmanager
    async def breaks(service: Service) -> AsyncIterator[None]:
        await asyncio.to_thread(choose(service).stop)
        choose(service).start()
        yield

    return breaks


FAULTS: dict[str, Break] = {
    "redis killed": killed_redis,
    "redis restarted": lambda service: stopped(service.redis),
    "redis frozen": lambda service: frozen(service.redis),
    "redis full": lambda service: out_of_memory(service.redis),
    "redis read-only": lambda service: demoted(service.redis),
    "postgres killed": killed_postgres,
    "postgres restarted": lambda service: stopped(service.postgres),
    "postgres frozen": lambda service: frozen(service.postgres),
    "worker killed": killed(lambda service: service.worker),
    "worker frozen": suspended(lambda service: service.worker),
    "worker restarted": restarted(lambda service: service.worker),
    "app killed": killed(lambda service: service.app),
    "app frozen": suspended(lambda service: service.app),
    "app restarted": restarted(lambda service: service.app),
}


class Fault(NamedTuple):
    name: str
    pause: float
    length: float


async def disturb(service: Service, faults: dict[str, Break], *, ends: float) -> list[Fault]:
    """Break one thing after the other until this time, and leave all of them repaired."""
    choice = random.Random(SEED)
    done: list[Fault] = []
    names = sorted(faults)
    while time.monotonic() < ends:
        fault = Fault(choice.choice(names), choice.uniform(*PAUSE), choice.uniform(*LENGTH))
        await asyncio.sleep(fault.pause)
        log.info("%s for %.1f s", fault.name, fault.length)
        async with faults[fault.name](service):
            await asyncio.sleep(fault.length)
        done.append(fault)
    return done


async def insist(send_it: Send, *, give_up: float) -> httpx.Response | None:
    """Send a request until it is answered below 500; None if it never was before `give_up`.

    The request has an Idempotency-Key, or can be sent twice without harm.
    """
    while time.monotonic() < give_up:
        with contextlib.suppress(httpx.TransportError):
            answer = await send_it()
            if answer.status_code < 500:
                return answer
        await asyncio.sleep(0.3)
    return None
