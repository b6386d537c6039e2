"""Reading what the service logs, as events rather than as text."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs


@contextmanager
def captured_logs() -> Iterator[list[dict[str, Any]]]:
    """The events that the service's own loggers write, with the context bound to them.

    Enter it after the application was made. The level is the one that the settings ask for.
    """
    forget_first_use()
    with capture_logs(processors=[merge_contextvars]) as events:
        yield events  # type: ignore[misc] # structlog's mappings are dicts
    forget_first_use()


def forget_first_use() -> None:
    """Reset what structlog has cached: a logger keeps the configuration of its first use."""
    for name, module in list(sys.modules.items()):
        log = getattr(module, "log", None) if name.partition(".")[0] == "app" else None
        if log is not None:
            vars(log).pop("bind", None)


def named(events: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [found for found in events if found["event"] == event]
