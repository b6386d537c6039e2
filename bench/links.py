"""What is measured of the links, and that what was measured is true. Over HTTP, like any client."""

import json
import time
from http.client import HTTPConnection
from typing import Any

from bench.load import Exchange

LINKS = "/api/v1/links"
IMPORTS = "/api/v1/imports"
SLUGS = 100  # redirected in turn: one slug alone would be the easiest case
IMPORTED_ROWS = 20_000
COUNTED_SECONDS = 120


def message(method: str, path: str, *, token: str = "", body: str = "") -> str:
    """The request as a browser or a program would send it, less what nobody here reads."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: bench", "Accept: */*"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])


class Links:
    """The links of one run, by the API at `port`."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token
        self.targets: dict[str, str] = {}

    def create(self) -> None:
        for number in range(SLUGS):
            target = f"https://example.com/target/{number}?from=bench"
            made = self._ask("POST", LINKS, json.dumps({"url": target}).encode())
            self.targets[made["slug"]] = target

    def redirects(self) -> list[Exchange]:
        return [
            Exchange(message("GET", f"/{slug}"), "HTTP/1.1 302 ", f"\r\nlocation: {target}\r\n")
            for slug, target in self.targets.items()
        ]

    def reads(self) -> list[Exchange]:
        return [
            Exchange(message("GET", f"{LINKS}/{slug}", token=self.token), "HTTP/1.1 200 ", target)
            for slug, target in self.targets.items()
        ]

    def creations(self) -> list[Exchange]:
        body = json.dumps({"url": "https://example.com/created"})
        request = message("POST", LINKS, token=self.token, body=body)
        return [Exchange(request, "HTTP/1.1 201 ", '"short_url":')]

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
