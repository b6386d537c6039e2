"""A browser whose service lies under a path of a host that other services share."""

import pytest

TOOLS = {"public_url": "http://testserver/tools"}
EITHER_PROXY = pytest.mark.parametrize(
    "before", ["/tools", ""], ids=["as it came", "taken off by the proxy"]
)


def behind_the_proxy(path: str, before: str) -> str:
    """The path that the service gets if a browser asks for this one."""
    assert path.startswith("/tools/"), path
    return before + path.removeprefix("/tools")
