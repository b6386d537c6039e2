"""Mixed traffic through random faults: afterwards the books of what was acknowledged agree."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_hex

import httpx
import psycopg
import pytest

from tests.faults.soak import FAULTS, LATEST, SECONDS, SEED, disturb, insist
from tests.features.links.faults.test_exactly_once import counts, totals, wait_until_reconciled
from tests.features.links.faults.uploads import CSV, generated, until_finished, url_of
from tests.features.links.faults.visitors import Visitors
from tests.service import Service

log = logging.getLogger(__name__)

CLICKS = 60.0  # a second
ROWS = 300  # of an import
KEY = "Idempotency-Key"
LINKS, TOKENS, IMPORTS = "/api/v1/links", "/api/v1/tokens", "/api/v1/imports"


@asynccontextmanager
async def locked_rows(service: Service) -> AsyncIterator[None]:
    """Somebody outside holds the rows of all links."""
    async with await psycopg.AsyncConnection.connect(service.owner_url) as connection:
        await connection.execute("SELECT FROM links FOR UPDATE")
        yield


@dataclass
class Books:
    """What the service has acknowledged."""

    client: httpx.AsyncClient
    ends: float
    links: dict[str, str] = field(default_factory=dict)  # slug: the URL that it was made with
    targets: dict[str, list[str]] = field(default_factory=dict)  # slug: all that may be true now
    tokens: dict[str, str] = field(default_factory=dict)  # id: text
    revoked: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)  # path: name
    strange: Counter[str] = field(default_factory=Counter)  # answers that nothing explains

    async def send(
        self, method: str, path: str, expected: int, **content: object
    ) -> httpx.Response | None:
        """The answer, if it was the expected one."""

        async def once() -> httpx.Response:
            return await self.client.request(method, path, **content)  # type: ignore[arg-type]

        answer = await insist(once, give_up=self.ends + LATEST)
        if answer is None or answer.status_code != expected:
            said = "no answer" if answer is None else f"{answer.status_code} {answer.text[:200]}"
            self.strange[f"{method} {path}: {said}"] += 1
            return None
        return answer

    async def repeat(self, step: Callable[[int], Awaitable[None]], *, every: float) -> None:
        number = 0
        while time.monotonic() < self.ends:
            await step(number)
            number += 1
            await asyncio.sleep(every)

    async def make_link(self, number: int) -> None:
        body = {"url": f"{url_of('soak')}{number}"}
        answer = await self.send("POST", LINKS, 201, json=body, headers={KEY: token_hex(8)})
        if answer is not None:
            slug = answer.json()["slug"]
            self.links[slug] = body["url"]
            self.targets[slug] = [body["url"]]

    async def change_link(self, number: int) -> None:
        slug = list(self.links)[number % len(self.links)]
        url = f"https://changed.example.com/{slug}/{number}"
        self.targets[slug].append(url)
        if await self.send("PATCH", f"{LINKS}/{slug}", 200, json={"url": url}) is not None:
            self.targets[slug] = [url]

    async def make_token(self, number: int) -> None:
        """Its answer can't be repeated, so it has no key and is sent once."""
        body = {"name": f"soak {number}", "scopes": ["links:read"]}
        try:
            answer = await self.client.post(TOKENS, json=body)
        except httpx.TransportError:
            return
        if answer.status_code != 201:
            return
        made = answer.json()
        self.tokens[made["id"]] = made["token"]
        if number % 2:
            answer_to = await self.send("DELETE", f"{TOKENS}/{made['id']}", 204)
            if answer_to is not None:
                self.revoked.add(made["id"])

    async def import_file(self, number: int) -> None:
        name = f"import-{number}"
        headers = {**CSV, KEY: token_hex(8)}
        source = generated(name, ROWS)
        answer = await self.send("POST", IMPORTS, 202, content=source, headers=headers)
        if answer is not None:
            self.imports[answer.headers["location"]] = name

    async def check_imports(self, service: Service) -> None:
        for path, name in self.imports.items():
            ended = await until_finished(self.client, path, seconds=180)
            assert (ended["total"], ended["done"], ended["errors"]) == (ROWS, ROWS, []), ended
            [(found,)] = service.query(
                "SELECT count(*) FROM links WHERE url LIKE %(like)s", like=f"{url_of(name)}%"
            )
            assert found == ROWS, name

    async def check_links(self, service: Service) -> None:
        rows = dict(service.query("SELECT slug, url FROM links"))
        made = service.query("SELECT count(*) FROM links WHERE created_by IS NOT NULL")
        log.info("%d links acknowledged, %d rows", len(self.links), made[0][0])
        for slug, possible in self.targets.items():
            assert rows.get(slug) in possible, (slug, rows.get(slug), possible)
            answer = await self.client.get(f"/{slug}", headers={"Authorization": ""})
            assert answer.headers.get("location") == rows[slug], (slug, answer, rows[slug])

    async def check_tokens(self) -> None:
        for token_id, text in self.tokens.items():
            headers = {"Authorization": f"Bearer {text}"}
            status = (await self.client.get(LINKS, headers=headers)).status_code
            assert status == (401 if token_id in self.revoked else 200), token_id


@pytest.mark.skipif(not SECONDS, reason="SOAK_SECONDS says how long; make check-more sets it")
@pytest.mark.flaky(reruns=0)
@pytest.mark.timeout(2 * SECONDS + 600)
async def test_the_books_agree(service: Service) -> None:
    """Every acknowledged link, change, token, import and click is stored. No click is too many."""
    log.info("SOAK_SEED=%d SOAK_SECONDS=%.0f", SEED, SECONDS)
    async with service.client() as client, Visitors(service.app.port) as visitors:
        books = Books(client, time.monotonic() + SECONDS)
        await books.make_link(-1)

        def choose(number: int) -> str:
            return list(books.links)[-1 - number % min(len(books.links), 20)]

        faults = {**FAULTS, "rows locked": locked_rows}
        async with asyncio.TaskGroup() as parallel:
            parallel.create_task(visitors.stroll(choose, rate=CLICKS, seconds=SECONDS))
            parallel.create_task(books.repeat(books.make_link, every=0.5))
            parallel.create_task(books.repeat(books.change_link, every=0.7))
            parallel.create_task(books.repeat(books.make_token, every=1.0))
            parallel.create_task(books.repeat(books.import_file, every=4.0))
            done = parallel.create_task(disturb(service, faults, ends=books.ends))
        log.info("faults: %s", Counter(fault.name for fault in done.result()))
        await asyncio.to_thread(service.restore)
        log.info(
            "%d links, %d tokens (%d revoked), %d imports; clicks: %d told, %d lost, %d refused,"
            " others %s; slowest %.2f s; strange: %s",
            *(len(books.links), len(books.tokens), len(books.revoked), len(books.imports)),
            *(visitors.redirected.total(), visitors.lost.total(), visitors.refused),
            *(visitors.others, visitors.slowest, books.strange),
        )
        await books.check_imports(service)
        reconciled = await asyncio.to_thread(wait_until_reconciled, service)
        log.info("reconciled after %.1f s", reconciled)
        counted = counts(service)
        assert totals(service) == counted
        for slug in books.links:
            told, unknown = visitors.redirected[slug], visitors.unknown(slug)
            assert told <= counted[slug] <= told + unknown, (slug, told, counted[slug], unknown)
        await books.check_links(service)
        await books.check_tokens()
        duplicates = service.query(
            "SELECT url FROM links WHERE url LIKE %(like)s GROUP BY url HAVING count(*) > 1",
            like=f"{url_of('soak')}%",
        )
        assert duplicates == []
        assert not books.strange
