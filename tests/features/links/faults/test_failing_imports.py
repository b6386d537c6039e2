"""Imports that can't succeed end; others succeed, wherever their worker was killed or frozen."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from app.features.links.lifecycle import MOST_ATTEMPTS
from tests.features.links.faults.test_imports import links_made
from tests.features.links.faults.uploads import generated, until_finished, upload
from tests.polling import eventually
from tests.service import Service

BATCH = 1000  # rows
SECONDS = 60.0


@contextmanager
def poisoned(service: Service, name: str, effect: str) -> Iterator[None]:
    """Postgres does this for each row of the files called `name`, from the second batch on."""
    service.query(f"""
        CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.url ~ '^https://{name}.example.com/[0-9]{{4}}' THEN {effect}; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER poison BEFORE INSERT ON links FOR EACH ROW EXECUTE FUNCTION poison();
    """)
    try:
        yield
    finally:
        service.query("DROP FUNCTION poison CASCADE")


def hurry(service: Service) -> None:
    """Let an hour pass for the imports, so that the next attempt is due."""
    service.query(
        "UPDATE imports SET updated_at = updated_at - interval '1 hour'"
        " WHERE status IN ('queued', 'running')"
    )


async def until_failed(service: Service, client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    async def failed() -> bool:
        hurry(service)
        await asyncio.sleep(0.5)
        status: str = (await client.get(path)).json()["status"]
        assert status != "finished"
        return status == "failed"

    await eventually(f"{path} fails", failed, seconds=SECONDS)
    found: dict[str, Any] = (await client.get(path)).json()
    return found


class TestPoison:
    """A file that always fails is given up, with a reason. It can be run again, and is complete."""

    @pytest.mark.timeout(180)
    async def test_rows_that_postgres_refuses(self, service: Service) -> None:
        async with service.client() as client:
            with poisoned(service, "poison", "RAISE EXCEPTION 'poison'"):
                path = await upload(client, generated("poison", 2 * BATCH))
                found = await until_failed(service, client, path)
                assert f"after {MOST_ATTEMPTS} attempts without progress" in found["failure"]
                assert f"at line {BATCH + 2} of" in found["failure"]
                assert (found["done"], found["failed"]) == (BATCH, 0)
                healthy = await upload(client, generated("healthy", BATCH))
                await until_finished(client, healthy, seconds=SECONDS)
                hurry(service)  # it stays as it is
                assert (await client.get(path)).json() == found
            assert (await client.post(f"{path}/retry")).status_code == 202
            found = await until_finished(client, path, seconds=SECONDS)
            assert (found["done"], found["failure"]) == (2 * BATCH, None)
        assert links_made(service, "poison") == (2 * BATCH, 2 * BATCH)

    @pytest.mark.timeout(180)
    async def test_rows_that_kill_their_worker(self, service: Service) -> None:
        async with service.client() as client:
            with poisoned(service, "deadly", "PERFORM pg_sleep(0.01)"):  # ten seconds
                path = await upload(client, generated("deadly", 2 * BATCH))
                for number in range(MOST_ATTEMPTS + 1):
                    await eventually(f"attempt {number}", attempted(service, path, number))
                    service.worker.kill()
                    end_sessions(service)
                    hurry(service)
                    service.worker.start()
                await until_failed(service, client, path)
            assert (await client.post(f"{path}/retry")).status_code == 202
            await until_finished(client, path, seconds=SECONDS)
        assert links_made(service, "deadly") == (2 * BATCH, 2 * BATCH)


def attempted(service: Service, path: str, number: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        [(attempts, next_row)] = service.query(
            "SELECT attempts, next_row FROM imports WHERE id = %(id)s", id=path.rpartition("/")[2]
        )
        # The first attempt makes progress, which does not count it.
        return bool(next_row > BATCH and attempts == number)

    return holds


def end_sessions(service: Service) -> None:
    """As Postgres itself does once it notices that a client is gone."""
    with psycopg.connect(service.postgres.url, autocommit=True) as connection:  # as their own role
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'drydock-worker'"
        )


class TestAnyPhase:
    """Every row becomes one link, wherever in an import its worker was killed or frozen."""

    @pytest.mark.timeout(180)
    async def test_killed_again_and_again(self, service: Service) -> None:
        rows = 30_000
        async with service.client() as client:
            path = await upload(client, generated("again", rows))
            for number in range(8):
                await asyncio.sleep(1.0 + 0.23 * number)  # a worker takes a second to start
                service.worker.kill()
                hurry(service)
                service.worker.start()
            await client.post(f"{path}/retry")  # if the kills came before any progress
            found = await finished_in_a_hurry(service, client, path)
            assert (found["done"], found["failed"], found["total"]) == (rows, 0, rows)
        assert links_made(service, "again") == (rows, rows)

    @pytest.mark.timeout(180)
    async def test_frozen_while_another_takes_over(self, service: Service) -> None:
        rows = 30_000
        async with service.client() as client:
            path = await upload(client, generated("frozen", rows))
            await asyncio.sleep(0.7)
            service.worker.process.send_signal(signal.SIGSTOP)
            try:
                service.command("worker", name="other").start()
                for _ in range(6):
                    hurry_if_free(service)
                    await asyncio.sleep(1)
            finally:
                service.worker.process.send_signal(signal.SIGCONT)
            found = await finished_in_a_hurry(service, client, path)
            assert (found["done"], found["failed"], found["total"]) == (rows, 0, rows)
        assert links_made(service, "frozen") == (rows, rows)


def hurry_if_free(service: Service) -> None:
    """The frozen worker may hold the lock of its row."""
    service.query(
        "UPDATE imports SET updated_at = updated_at - interval '1 hour' WHERE id IN"
        " (SELECT id FROM imports WHERE status = 'running' FOR UPDATE SKIP LOCKED)"
    )


async def finished_in_a_hurry(
    service: Service, client: httpx.AsyncClient, path: str
) -> dict[str, Any]:
    hurry(service)
    return await until_finished(client, path, seconds=SECONDS)
