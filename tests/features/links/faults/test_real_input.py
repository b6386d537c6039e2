"""Thousands of addresses that nobody made up for a test, through the whole service."""

import asyncio
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.features.links.faults.harvest import harvest, is_plain, is_refused
from tests.features.links.faults.uploads import csv_of, until_finished, upload
from tests.features.links.faults.visitors import Visitors
from tests.service import Service

log = logging.getLogger(__name__)

FEWEST, MOST = 10_000, 12_000
CONCURRENCY = 16
IMPORT_SECONDS = 30.0
FIRST_ROW = 2  # the header is row 1

# What is wrong with each of these, between the harvested rows.
BROKEN = {
    ("ftp://example.com/", "", "", ""): "validation_failed",
    ("javascript:alert(1)", "", "", ""): "validation_failed",
    ("https://user:secret@example.com/", "", "", ""): "validation_failed",
    ("https://example.com/a b", "", "", ""): "validation_failed",
    ("https://example.com/" + "a" * 2048, "", "", ""): "validation_failed",
    ("https://example.com/", "no spaces", "", ""): "validation_failed",
    ("https://example.com/", "api", "", ""): "validation_failed",
    ("https://example.com/", "", "t" * 201, ""): "validation_failed",
    ("https://example.com/", "", "", "2001-01-01T00:00:00Z"): "validation_failed",
    ("https://example.com/", "", "", "tomorrow"): "validation_failed",
    ("", "empty", "", ""): "validation_failed",
    ("https://example.com/", "too", "many", "", "fields"): "row_malformed",
    ("https://example.com/", "too few"): "row_malformed",
    ("https://example.com/", "", "\udcff is no UTF-8", ""): "row_malformed",
    ("https://example.com/another", "real-0", "", ""): "slug_taken",
}


@dataclass
class File:
    """Rows and what is known of them, by the row's number."""

    rows: list[tuple[str, ...]]
    addresses: dict[int, bytes]
    broken: dict[int, str]


@pytest.fixture(scope="module")
def file() -> File:
    addresses = harvest(MOST)
    if len(addresses) < FEWEST:
        pytest.skip(f"this machine's files hold {len(addresses)} addresses only")
    file = File([], {}, {})
    broken = iter(BROKEN.items())
    for number, address in enumerate(addresses):
        # Every other one asks for a name of its own, and some expire one day.
        slug = "" if number % 2 else f"real-{number}"
        expires = "2100-01-01T00:00:00Z" if number % 10 == 0 else ""
        file.addresses[FIRST_ROW + len(file.rows)] = address
        file.rows.append((os.fsdecode(address), slug, f'"{number}", a title', expires))
        if number % 500 == 250 and (fault := next(broken, None)):
            file.broken[FIRST_ROW + len(file.rows)] = fault[1]
            file.rows.append(fault[0])
    assert next(broken, None) is None
    return file


def all_links(service: Service) -> dict[str, str]:
    return dict(service.query("SELECT slug, url FROM links"))


class TestRealInput:
    """Every well-formed row becomes a link, every other is reported, and each link leads there."""

    async def test_imported_twice_and_followed(self, service: Service, file: File) -> None:
        source = csv_of(file.rows)
        before = all_links(service)
        async with service.client() as client:
            first = await until_finished(
                client, await upload(client, source), seconds=IMPORT_SECONDS
            )
            made = all_links(service)
            again = await until_finished(
                client, await upload(client, source), seconds=IMPORT_SECONDS
            )
        assert all_links(service) == made
        assert {**first, "id": None} == {**again, "id": None}
        new = {slug: url for slug, url in made.items() if slug not in before}
        log.info("%d rows, %d links, %d refused", len(file.rows), len(new), first["failed"])
        self.check_report(file, first, set(new.values()))
        await self.check_redirects(service, new)

    def check_report(self, file: File, report: dict[str, Any], urls: set[str]) -> None:
        errors = {error["row"]: error for error in report["errors"]}
        assert len(errors) == len(report["errors"]) == report["failed"]
        assert report["total"] == len(file.rows) == report["done"] + report["failed"]
        assert all(error["detail"] for error in errors.values())
        assert {row: errors[row]["code"] for row in file.broken if row in errors} == file.broken
        for row, address in file.addresses.items():
            if row in errors:
                assert not is_plain(address), (address, errors[row])
            else:
                assert not is_refused(address), address
                # What is not ASCII is stored in its ASCII form, which is not written twice here.
                assert not address.isascii() or address.decode() in urls
        clear = sum(is_plain(address) or is_refused(address) for address in file.addresses.values())
        assert clear > 0.9 * len(file.addresses)

    async def check_redirects(self, service: Service, links: dict[str, str]) -> None:
        left: Iterator[tuple[str, str]] = iter(links.items())
        async with Visitors(service.app.port) as visitors:

            async def follow() -> None:
                for slug, url in left:
                    answer = await visitors.follow(slug)
                    assert (answer.status, answer.location) == (302, url), slug

            await asyncio.gather(*(follow() for _ in range(CONCURRENCY)))
