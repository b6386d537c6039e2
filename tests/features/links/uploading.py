"""Imports for tests: upload as a client does, and do the worker's part at once."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import update

from app.features.links.models import Import
from app.features.links.tasks import run_import
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import IMPORTS

HEADER = "url,slug,title,expires_at"


def csv_of(*lines: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *lines, ""]).encode()


async def upload(api: httpx.AsyncClient, *lines: str, header: str = HEADER) -> dict[str, Any]:
    """Upload a CSV of these lines. Returns what was answered."""
    headers = {"Content-Type": "text/csv"}
    answer = await api.post(IMPORTS, content=csv_of(*lines, header=header), headers=headers)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def work(resources: Resources, job: dict[str, Any]) -> None:
    """What the worker does with an import."""
    await run_import({"resources": resources}, import_id=job["id"])


async def result(api: httpx.AsyncClient, job: dict[str, Any], **params: str) -> dict[str, Any]:
    answer = await api.get(f"{IMPORTS}/{job['id']}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def imported(
    api: httpx.AsyncClient, resources: Resources, *lines: str, header: str = HEADER
) -> dict[str, Any]:
    """Upload, let the worker do its part, and read the result."""
    job = await upload(api, *lines, header=header)
    await work(resources, job)
    return await result(api, job)


async def age(resources: Resources, job: dict[str, Any], by: timedelta) -> None:
    """Make an import older, as if it had been created and updated `by` ago."""
    async with transaction(resources.sessions) as session:
        await session.execute(
            update(Import)
            .where(Import.id == UUID(job["id"]))
            .values(updated_at=datetime.now(UTC) - by, created_at=datetime.now(UTC) - by)
        )
