"""The stack of tests/stack, and a client that may make links in it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.stack.stack import Stack

pytest_plugins = ["tests.stack.fixtures"]


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[httpx.Client]:
    token = stack.make_token("links:read", "links:write", "tokens:write")
    with stack.client(Authorization=f"Bearer {token}") as client:
        yield client
