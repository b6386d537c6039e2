"""CSV files for imports, and waiting for what becomes of them."""

import asyncio
import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import httpx

from tests.polling import eventually

COLUMNS = ("url", "slug", "title", "expires_at")
CSV = {"Content-Type": "text/csv"}


def csv_of(rows: Iterable[Sequence[str]], columns: Sequence[str] = COLUMNS) -> bytes:
    """Strings may hold bytes that are no UTF-8, as os.fsdecode makes them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


def generated(name: str, number: int) -> bytes:
    """A file of well-formed rows whose URLs all begin with `url_of(name)`."""
    return csv_of(([f"{url_of(name)}{n}"] for n in range(number)), columns=["url"])


def url_of(name: str) -> str:
    return f"https://{name}.example.com/"


async def upload(client: httpx.AsyncClient, source: bytes) -> str:
    """The path of the import."""
    answer = await client.post("/api/v1/imports", content=source, headers=CSV)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


async def read_import(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """Its progress, with the errors of all pages."""
    found: dict[str, Any] = (await client.get(path)).json()
    while (after := found["next_errors_after"]) is not None:
        page = (await client.get(path, params={"errors_after": after})).json()
        found["errors"] += page["errors"]
        found["next_errors_after"] = page["next_errors_after"]
    return found


async def until_begun(client: httpx.AsyncClient, path: str) -> None:
    async def begun() -> bool:
        done: int = (await client.get(path)).json()["done"]
        return done > 0

    await eventually(f"{path} begins", begun)


async def until_finished(client: httpx.AsyncClient, path: str, *, seconds: float) -> dict[str, Any]:
    async def finished() -> bool:
        answer = (await client.get(path)).json()
        if answer["status"] == "finished":
            return True
        await asyncio.sleep(0.1)
        return False

    await eventually(f"{path} is finished", finished, seconds=seconds)
    return await read_import(client, path)
