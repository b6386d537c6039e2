"""What is measured of the links, and whether every click was counted."""

import json
import time
from functools import partial
from http.client import HTTPConnection
from typing import Any

from starlette.types import ASGIApp

from app.infra.http.middleware import add_middleware
from app.infra.logs import configure_logging
from app.infra.metrics import Metrics
from app.main import create_api
from app.registry import load_settings
from bench.laboratory import Laboratory, Server
from bench.load import Exchange, request
from bench.scenarios import Row, Runs, Scenario

LINKS = "/api/v1/links"
IMPORTS = "/api/v1/imports"
SLUGS = 100  # redirected in turn; a single slug would be too easy
IMPORTED_ROWS = 20_000
COUNTED_SECONDS = 120

REDIRECT = "redirect, click on disk"
EDGELESS = "redirect, all through FastAPI"


def create_edgeless_app() -> ASGIApp:
    """As `app.main.create_app`, without the edge that answers most redirects."""
    settings = load_settings()
    configure_logging(settings)
    metrics = Metrics(settings)
    return add_middleware(create_api(settings, metrics), settings, metrics, edges=())


def prepare(laboratory: Laboratory, service: Server, token: str) -> Scenario:
    edgeless = laboratory.serve("edgeless", f"{__name__}:create_edgeless_app")
    links = Links(service, edgeless, token)
    return Scenario(links.rows, partial(links.check, laboratory))


class Links:
    """The links of one run, over the API."""

    def __init__(self, service: Server, edgeless: Server, token: str) -> None:
        self.port = service.port
        self.token = token
        self.targets: dict[str, str] = {}
        self.create()
        self.rows = [
            Row(REDIRECT, service, self.redirects()),
            Row(EDGELESS, edgeless, self.redirects()),
            Row(f"GET {LINKS}/{{slug}}", service, self.reads()),
            Row(f"POST {LINKS}", service, self.creations()),
        ]

    def check(self, laboratory: Laboratory, runs: Runs) -> bool:
        """Whether each click was counted, once a worker runs."""
        laboratory.work()
        print(f"import: {self.import_rate():,.0f} rows/s")
        clicks = sum(
            run.answered - run.wrong for name in (REDIRECT, EDGELESS) for run in runs[name]
        )
        counted = self.wait_until_counted(clicks)
        print(f"redirects answered: {clicks:,}, clicks counted: {counted:,}")
        return counted == clicks

    def create(self) -> None:
        for number in range(SLUGS):
            target = f"https://example.com/target/{number}?from=bench"
            made = self._ask("POST", LINKS, json.dumps({"url": target}).encode())
            self.targets[made["slug"]] = target

    def redirects(self) -> list[Exchange]:
        return [
            Exchange(request("GET", f"/{slug}"), "HTTP/1.1 302 ", f"\r\nlocation: {target}\r\n")
            for slug, target in self.targets.items()
        ]

    def reads(self) -> list[Exchange]:
        return [
            Exchange(request("GET", f"{LINKS}/{slug}", token=self.token), "HTTP/1.1 200 ", target)
            for slug, target in self.targets.items()
        ]

    def creations(self) -> list[Exchange]:
        body = json.dumps({"url": "https://example.com/created"})
        creation = request("POST", LINKS, token=self.token, body=body)
        return [Exchange(creation, "HTTP/1.1 201 ", '"short_url":')]

    def counted(self) -> int:
        return sum(self._ask("GET", f"{LINKS}/{slug}")["clicks"] for slug in self.targets)

    def wait_until_counted(self, clicks: int) -> int:
        """Return how many clicks are counted, once it is as many or nothing has come for long."""
        deadline = time.monotonic() + COUNTED_SECONDS
        counted = self.counted()
        while counted < clicks and time.monotonic() < deadline:
            time.sleep(0.5)
            counted = self.counted()
        return counted

    def import_rate(self) -> float:
        """Rows a second, from the upload to the last link."""
        rows = "".join(f"https://example.com/imported/{row}\n" for row in range(IMPORTED_ROWS))
        started = time.perf_counter()
        job = self._ask("POST", IMPORTS, f"url\n{rows}".encode(), media_type="text/csv")
        while job["status"] != "finished":
            time.sleep(0.05)
            job = self._ask("GET", f"{IMPORTS}/{job['id']}")
        if job["done"] != IMPORTED_ROWS:
            raise SystemExit(f"the import went wrong: {job}")
        return IMPORTED_ROWS / (time.perf_counter() - started)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        media_type: str = "application/json",
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": media_type}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers)
        with connection.getresponse() as answer:
            content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path} answered {answer.status}: {content.decode()}")
        found: dict[str, Any] = json.loads(content)
        return found
