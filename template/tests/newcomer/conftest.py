"""One clone, started once, and one browser for all tests."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from playwright.sync_api import Browser

from template.tests.newcomer.browser import Window, chromium, find_chromium, window
from template.tests.newcomer.runtimes import Clone, Runtime, make_dev
from tests.stack.source import ROOT


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    return cast("Runtime", os.environ.get("RUNTIME") or "embedded")


@pytest.fixture(scope="session")
def clone(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    find_chromium()  # before minutes are spent on all else
    with make_dev(runtime, tmp_path_factory.mktemp("newcomer") / "make-dev.log") as started:
        yield started


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


OpenWindow = Callable[..., AbstractContextManager[Window]]


@pytest.fixture
def open_window(browser: Browser, clone: Clone) -> OpenWindow:
    return partial(window, browser, clone.url)


@pytest.fixture(scope="session")
def shots(runtime: Runtime) -> Path:
    """Where the screenshots go, for somebody to look at."""
    folder = ROOT / ".local" / "screenshots" / runtime
    folder.mkdir(parents=True, exist_ok=True)
    return folder
