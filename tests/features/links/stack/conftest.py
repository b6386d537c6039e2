"""A production stack for the sample's tests, as tests/stack has one."""

from collections.abc import Iterator

import httpx
import pytest

from tests.stack.conftest import (
    docker,
    images,
    pytest_runtest_makereport,
    source,
    stack,
    stacks,
)
from tests.stack.stack import Stack

__all__ = ["docker", "images", "pytest_runtest_makereport", "source", "stack", "stacks"]


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[httpx.Client]:
    token = stack.make_token("links:read", "links:write", "tokens:write")
    with stack.client(Authorization=f"Bearer {token}") as client:
        yield client
