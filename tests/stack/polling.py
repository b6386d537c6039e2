"""Waiting for what no event tells: a container's health, a count that arrives."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

T = TypeVar("T")

# What a service that is starting, stopping or frozen does to a request.
NOT_YET = (httpx.TransportError,)


def until(look: Callable[[], T], *, within: float, every: float = 0.1) -> T:
    """Return what `look` finds once that is truthy.

    Raises `AssertionError` with the last finding after `within` seconds. A connection that fails
    counts as "not yet".
    """
    limit = time.monotonic() + within
    while True:
        found: object
        try:
            found = answer = look()
            if answer:
                return answer
        except NOT_YET as error:
            found = error
        if time.monotonic() > limit:
            raise AssertionError(f"not within {within} s; last seen: {found!r}")
        time.sleep(every)
