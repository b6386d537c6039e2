"""Many large files at once, and one after the other: memory stays as it was, and others are served.

Before, thirty of them made the app grow by 231 MB.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from app.features.links.lifecycle import MOST_OPEN
from app.features.links.runtime import UPLOADS
from tests.features.links.faults.uploads import CSV, csv_of, until_finished
from tests.polling import until
from tests.service import Service

IMPORTS = "/api/v1/imports"
SIZE = 9_900_000  # just below MAX_UPLOAD_BYTES
# A file is 10 MB, and no file is held.
APP_MEGABYTES = 40
WORKER_MEGABYTES = 40


def large_file(name: str, row_bytes: int) -> bytes:
    """As many rows as fit, none of them short: an import is done sooner."""
    url = f"https://{name}.example.com/"
    rows = SIZE // (row_bytes + 1)
    return csv_of(
        ([f"{url}{n}/".ljust(row_bytes, "x")[:row_bytes]] for n in range(rows)), columns=["url"]
    )


@contextmanager
def watched(service: Service) -> Iterator[None]:
    starts = service.app.process.pid, service.worker.process.pid
    with (
        service.app.growing_at_most(APP_MEGABYTES),
        service.worker.growing_at_most(WORKER_MEGABYTES),
    ):
        yield
    assert (service.app.is_running, service.worker.is_running) == (True, True)
    assert (service.app.process.pid, service.worker.process.pid) == starts


async def send(client: httpx.AsyncClient, file: bytes, token: str | None = None) -> httpx.Response:
    headers = {**CSV, **({"Authorization": f"Bearer {token}"} if token else {})}
    return await client.post(IMPORTS, content=file, headers=headers, timeout=120)


async def make_token(client: httpx.AsyncClient, name: str) -> str:
    body = {"name": name, "scopes": ["links:write"]}
    answer = await client.post("/api/v1/tokens", json=body)
    return str(answer.json()["token"])


async def send_half(service: Service, file: bytes) -> asyncio.StreamWriter:
    """Begin an upload, and send no more than a half of it."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.app.port)
    head = (
        f"POST {IMPORTS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/csv\r\n"
        f"Authorization: Bearer {service.app.token}\r\nContent-Length: {len(file)}\r\n\r\n"
    )
    writer.write(head.encode() + file[: len(file) // 2])
    await writer.drain()
    return writer


def halves(service: Service) -> int:
    """How many uploads have stored something, and not all."""
    [(number,)] = service.query(
        "SELECT count(DISTINCT import_id) FROM import_pieces JOIN imports ON id = import_id"
        " WHERE status = 'uploading'"
    )
    return int(number)


class TestHalfAnUpload:
    """It leaves nothing behind, and no connection waits for the rest of it."""

    async def test_a_client_that_goes_away(self, service: Service) -> None:
        file = large_file("half", 2000)
        writers = [await send_half(service, file) for _ in range(UPLOADS.most_of_a_token)]
        await asyncio.to_thread(until, lambda: halves(service) == len(writers))
        [(busy,)] = service.query(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'drydock-web' AND state <> 'idle'"
        )
        assert busy == 0
        for writer in writers:
            writer.close()
        await asyncio.to_thread(until, lambda: halves(service) == 0)

    async def test_an_app_that_is_killed(self, service: Service) -> None:
        writer = await send_half(service, large_file("killed", 2000))
        await asyncio.to_thread(until, lambda: halves(service) == 1)
        service.app.kill()
        writer.close()
        service.restore()
        async with service.client() as client:
            answer = await send(client, b"url\nhttps://example.com/after\n")
            await until_finished(client, answer.headers["location"], seconds=60)
        service.query("DELETE FROM imports WHERE status = 'uploading'")


class TestManyUploads:
    """Neither process keeps a file in memory. A token has a share of the places."""

    @pytest.mark.timeout(240)
    async def test_at_once(self, service: Service) -> None:
        file = large_file("atonce", 2000)
        async with service.client() as client:
            with watched(service):
                one_token = await asyncio.gather(*(send(client, file) for _ in range(10)))
                tokens = [await make_token(client, f"uploader {n}") for n in range(7)]
                many = await asyncio.gather(
                    *(send(client, file, token) for token in tokens for _ in range(3))
                )
                stored = [answer for answer in (*one_token, *many) if answer.status_code == 202]
                for answer in stored:
                    path = answer.headers["location"]
                    found = await until_finished(client, path, seconds=120)
                    assert found["done"] == found["total"] == SIZE // 2001
        statuses = Counter(answer.status_code for answer in one_token)
        assert set(statuses) == {202, 429}
        assert statuses[202] >= UPLOADS.most_of_a_token
        statuses = Counter(answer.status_code for answer in many)
        assert set(statuses) <= {202, 429}
        assert statuses[202] >= UPLOADS.most
        for answer in one_token:
            if answer.status_code == 429:
                assert answer.json()["code"] == "too_many_imports"
                assert "3 uploads" in answer.json()["detail"]

    @pytest.mark.timeout(240)
    async def test_one_after_the_other(self, service: Service) -> None:
        """One token may have so many open imports. Rows of a file may be as long as they can be."""
        file = large_file("sequence", 16_000)  # too long for a URL: each row is an error
        async with service.client() as client:
            token = await make_token(client, "sequence")
            service.worker.kill()
            with service.app.growing_at_most(APP_MEGABYTES):
                sent = [await send(client, file, token) for _ in range(MOST_OPEN + 2)]
            assert Counter(answer.status_code for answer in sent) == {202: MOST_OPEN, 429: 2}
            assert f"{MOST_OPEN} imports" in sent[-1].json()["detail"]
            service.worker.start()
            await asyncio.sleep(3)  # until it has loaded all its modules
            with service.worker.growing_at_most(WORKER_MEGABYTES):
                for answer in sent[:MOST_OPEN]:
                    path = answer.headers["location"]
                    found = await until_finished(client, path, seconds=120)
                    assert found["failed"] == found["total"] == SIZE // 16_001
            assert (await send(client, file, token)).status_code == 202
