"""Chromium, and a record of its errors and of the hosts that it contacts."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

Scheme = Literal["light", "dark"]

WIDTHS = (390, 768, 1440)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "There is no Chromium. On Debian: apt install chromium. Or set CHROMIUM=/path/to/it"


def find_chromium() -> str:
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.exit(MISSING, returncode=1)
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    # The sandbox refuses root, and the browser opens only our own pages.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=options)
        yield browser
        browser.close()


@dataclass
class Window:
    """A browser window that records errors and requests."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def open(self, path: str = "/") -> None:
        self.page.goto(self.url + path)

    def sign_in(self, token: str) -> None:
        self.open()
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

    def look(self, shot: Path) -> None:
        """Take a screenshot. Nothing may be cut off, and axe-core must find no fault."""
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=shot, full_page=True)
        assert self.overflow() == 0
        assert self.violations() == []

    def violations(self) -> list[str]:
        """What axe-core finds wrong on the page as it is now, by rule and place."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']}: {node['html'][:120]} {node['failureSummary']}"
            for rule in found
            for node in rule["nodes"]
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        root = "document.documentElement"
        wider: int = self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
        return wider


@contextmanager
def window(browser: Browser, url: str, **options: Any) -> Iterator[Window]:
    """Open a window. At the end, it must have no errors and no requests to other hosts."""
    context: BrowserContext = browser.new_context(**options)
    page = context.new_page()
    opened = Window(page, url)

    def complain(kind: str, text: str) -> None:
        opened.complaints.append(f"{kind}: {text}")

    context.on("console", lambda message: complain(message.type, message.text))
    context.on("weberror", lambda error: complain("error", str(error.error)))
    context.on("request", lambda request: opened.hosts.add(urlsplit(request.url).netloc))
    yield opened
    context.close()
    assert opened.complaints == []
    assert opened.hosts <= {urlsplit(url).netloc}
