"""POST /api/v1/imports."""

from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.features.links.csvfile import MOST_LINES
from app.features.links.models import Import
from app.infra.db import transaction
from app.infra.lifespan import Resources
from app.infra.queue import make_queue
from tests.conftest import MakeClient, MakeToken
from tests.features.links.conftest import IMPORTS
from tests.features.links.uploading import csv_of
from tests.problems import check_problem

CSV = {"Content-Type": "text/csv"}
ONE = csv_of("https://example.com/,one,,")


async def stored(resources: Resources) -> int:
    async with transaction(resources.sessions) as session:
        return int(await session.scalar(select(func.count(Import.id))) or 0)


class TestUpload:
    """A file is stored before the answer, and its job is enqueued after the commit."""

    @pytest.mark.parametrize(
        "sent",
        [
            {"content": ONE, "headers": CSV},
            {"content": ONE, "headers": {"Content-Type": "Text/CSV; charset=utf-8"}},
            {"files": {"file": ("links.csv", ONE, "text/csv")}},
        ],
    )
    async def test_it_is_stored_and_enqueued(
        self, api: httpx.AsyncClient, resources: Resources, sent: dict[str, Any]
    ) -> None:
        answer = await api.post(IMPORTS, **sent)
        job = answer.json()
        assert answer.status_code == 202
        assert answer.headers["location"] == f"{IMPORTS}/{job['id']}"
        progress = {"status": "queued", "total": 1, "done": 0, "failed": 0, "failure": None}
        assert job == {"id": job["id"], **progress}
        found = (await api.get(answer.headers["location"])).json()
        assert found == {**job, "errors": [], "next_errors_after": None}
        queued = await make_queue(resources.redis).dequeue(timeout=1)
        assert queued is not None
        assert (queued.function, queued.kwargs) == ("run_import", {"import_id": job["id"]})


class TestRefused:
    """A file that can't be imported is refused, and nothing is stored."""

    @pytest.fixture(autouse=True)
    async def nothing_is_stored(self, resources: Resources) -> None:
        assert await stored(resources) == 0

    @pytest.mark.parametrize(
        "content",
        [b"", b"url\n", b"slug\nx\n", b"\xff\xfe\n", b"url\n" + b"\n" * MOST_LINES + b"x\n"],
    )
    async def test_a_file_that_is_none(
        self, api: httpx.AsyncClient, resources: Resources, content: bytes
    ) -> None:
        for answer in (
            await api.post(IMPORTS, content=content, headers=CSV),
            await api.post(IMPORTS, files={"file": content}),
        ):
            check_problem(answer, 422, "file_invalid")
        assert await stored(resources) == 0

    @pytest.mark.parametrize("content_type", ["application/json", "text/plain", "csv", ""])
    async def test_another_media_type(self, api: httpx.AsyncClient, content_type: str) -> None:
        answer = await api.post(IMPORTS, content=ONE, headers={"Content-Type": content_type})
        problem = check_problem(answer, 415, "unsupported_media_type")
        assert "text/csv" in problem["detail"]

    @pytest.mark.parametrize("extra", [1, 5_000])
    async def test_a_file_that_is_too_large(
        self, make_client: MakeClient, make_token: MakeToken, extra: int
    ) -> None:
        client = make_client(max_upload_bytes=2048, max_body_bytes=1024)
        client.headers["Authorization"] = f"Bearer {await make_token()}"
        fits = b"url\n" + b"x" * 2044
        assert (await client.post(IMPORTS, files={"file": fits})).status_code == 202
        for answer in (
            await client.post(IMPORTS, content=fits + b"x" * extra, headers=CSV),
            await client.post(IMPORTS, files={"file": fits + b"x" * extra}),
        ):
            check_problem(answer, 413, "body_too_large")


class TestStrangers:
    """The body is read after the caller was authenticated, and uploads are limited."""

    async def test_their_body_is_not_read(self, client: httpx.AsyncClient) -> None:
        stranger = await client.post(IMPORTS, content=b"no csv")
        check_problem(stranger, 401, "token_invalid")

    async def test_uploads_are_limited_like_other_writes(
        self, make_client: MakeClient, make_token: MakeToken
    ) -> None:
        client = make_client(rate_limit_write="1/minute")
        client.headers["Authorization"] = f"Bearer {await make_token()}"
        assert (await client.post(IMPORTS, content=ONE, headers=CSV)).status_code == 202
        check_problem(await client.post(IMPORTS, content=ONE, headers=CSV), 429, "rate_limited")
