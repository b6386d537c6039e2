"""Idempotency keys, at routes of a feature of its own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import Depends, FastAPI, Header, Response
from pydantic import BaseModel
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.config import Settings
from app.errors import AppError
from app.features.tokens.models import Token
from app.infra.db import SessionDep, Sessions, reading, transaction
from app.infra.http.idempotency import (
    FirstAnswer,
    once,
    once_on_page,
    purge_keys,
)
from app.infra.http.inputs import FutureTime
from app.infra.http.middleware import add_middleware
from app.infra.http.problems import ProblemRouter, install_problem_handlers
from app.infra.lifespan import Resources, open_resources
from app.infra.metrics import Metrics
from app.infra.page.render import PageRoute
from tests.live import WithState, client_of
from tests.polling import eventually
from tests.problems import check_problem

FORM_KEY = "0" * 32
WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


@dataclass(frozen=True)
class Sailor:
    id: UUID


async def who(sailor: Annotated[UUID, Header()]) -> Sailor:
    return Sailor(sailor)


class ShipSunk(AppError):
    code = "ship_sunk"
    status = 409
    title = "The ship has sunk"


class Ship(BaseModel):  # the body of each request
    name: str
    leaves_at: FutureTime | None = None
    sinks: bool = False


class Gate:
    """Where the handler of /slow waits."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.came = 0


async def build(session: AsyncSession, ship: Ship, gate: Gate | None = None) -> str:
    """Stores a row, as any feature does. Returns what no second call returns."""
    session.add(Token(name=ship.name, scopes=["x"], hash=bytes(32)))
    await session.flush()
    if gate is not None:
        gate.came += 1
        await gate.open.wait()
    if ship.sinks:
        raise ShipSunk("It sank after the row was stored.")
    return uuid4().hex


def harbour(settings: Settings, resources: Resources, gate: Gate | None = None) -> WithState:
    app = FastAPI()
    install_problem_handlers(app)
    api, pages = ProblemRouter(), ProblemRouter(route_class=PageRoute)

    @api.post("/ships", status_code=201, dependencies=[Depends(once(who))])
    @api.post("/boats", status_code=201, dependencies=[Depends(once(who))])
    async def make(ship: Ship, session: SessionDep, response: Response) -> dict[str, str]:
        response.headers["Location"] = f"/ships/{ship.name}"
        return {"made": await build(session, ship, gate)}

    @api.post("/secrets", status_code=201)
    async def tell(
        ship: Ship,
        session: SessionDep,
        response: Response,
        _sailor: Annotated[Sailor, Depends(once(who, keeps_body=False))],
    ) -> dict[str, str]:
        response.headers["Location"] = f"/secrets/{ship.name}"
        return {"secret": await build(session, ship)}

    @pages.post("/page/ships", dependencies=[Depends(once_on_page(who))])
    async def make_on_page(ship: Ship, session: SessionDep) -> Response:
        made = await build(session, ship)
        refused = ship.name == "Vasa"
        return Response(made, status_code=422 if refused else 200)

    for router in (api, pages):
        app.router.routes.extend(router.routes)
    return WithState(add_middleware(app, settings, Metrics(settings), []), {"resources": resources})


@dataclass(frozen=True)
class Harbour:
    client: httpx.AsyncClient
    sessions: Sessions

    async def post(
        self, path: str = "/ships", key: str = "a", sailor: int = 1, **body: Any
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key, "Sailor": str(UUID(int=sailor))}
        return await self.client.post(path, json={"name": "Ada", **body}, headers=headers)

    async def ships(self) -> int:
        async with transaction(self.sessions) as session:
            return await session.scalar(select(func.count()).select_from(Token)) or 0

    async def keys(self) -> int:
        async with transaction(self.sessions) as session:
            return await session.scalar(select(func.count()).select_from(FirstAnswer)) or 0


@pytest.fixture
async def port(migrated: Settings, resources: Resources) -> AsyncIterator[Harbour]:
    async with client_of(harbour(migrated, resources)) as client:
        yield Harbour(client, resources.sessions)


class TestSentAgain:
    """The same request with the same key gets the same answer, and changes nothing."""

    async def test_the_whole_answer(self, port: Harbour) -> None:
        first, again = await port.post(), await port.post()
        assert (again.status_code, again.content) == (first.status_code, first.content)
        for header in ("location", "content-type"):
            assert again.headers[header] == first.headers[header]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert await port.ships() == 1

    async def test_when_its_data_is_no_longer_valid(
        self, port: Harbour, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        first = await port.post(leaves_at=soon)
        assert first.status_code == 201

        class Later(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override] # its sum is no Later
                return datetime.now(tz) + timedelta(hours=2)

        monkeypatch.setattr("app.infra.http.inputs.datetime", Later)
        assert (await port.post(leaves_at=soon, key="b")).status_code == 422
        assert (await port.post(leaves_at=soon)).content == first.content

    async def test_an_answer_with_a_secret_is_not_stored(self, port: Harbour) -> None:
        first = await port.post("/secrets")
        assert first.status_code == 201
        problem = check_problem(await port.post("/secrets"), 409, "answer_not_kept")
        assert "/secrets/Ada" in problem["detail"]
        assert await port.ships() == 1
        async with transaction(port.sessions) as session:
            (kept,) = await session.scalars(select(FirstAnswer))
        assert (kept.status, kept.body) == (201, None)


class TestAnother:
    """A key stands for one request of one caller to one operation."""

    @pytest.mark.parametrize("other", [{"name": "Bob"}, {"path": "/ships?fast=1"}])
    async def test_other_data_is_refused(self, port: Harbour, other: dict[str, Any]) -> None:
        first = await port.post()
        check_problem(await port.post(**other), 422, "idempotency_key_reused")
        assert (await port.post()).content == first.content

    @pytest.mark.parametrize("other", [{"key": "b"}, {"sailor": 2}, {"path": "/boats"}])
    async def test_another_key_caller_or_operation_is_another_request(
        self, port: Harbour, other: dict[str, Any]
    ) -> None:
        assert (await port.post()).content != (await port.post(**other)).content
        assert await port.ships() == 2


class TestFailed:
    """What was answered with an error has changed nothing, and can be sent again."""

    async def test_an_error(self, port: Harbour) -> None:
        check_problem(await port.post(sinks=True), 409, "ship_sunk")
        assert (await port.ships(), await port.keys()) == (0, 0)
        check_problem(await port.post(sinks=True), 409, "ship_sunk")
        assert (await port.post()).status_code == 201

    async def test_a_request_that_is_not_valid(self, port: Harbour) -> None:
        check_problem(await port.post(leaves_at="yesterday"), 422, "validation_failed")
        assert await port.keys() == 0

    async def test_an_error_on_a_page(self, port: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
        """The page that says so is an answer like others, but nothing is committed."""
        monkeypatch.setattr(
            "app.infra.page.render.error_page",
            lambda _request, error: Response(error.detail, status_code=error.status),
        )
        answer = await port.post(f"/page/ships?key={FORM_KEY}", sinks=True)
        assert answer.status_code == 409
        assert (await port.ships(), await port.keys()) == (0, 0)

    async def test_a_form_with_a_fault(self, port: Harbour) -> None:
        await port.post(f"/page/ships?key={FORM_KEY}", name="Vasa")
        assert await port.keys() == 0


class TestForm:
    """A form that is sent twice is carried out once. With other data it is another request."""

    async def test_twice(self, port: Harbour) -> None:
        path = f"/page/ships?key={FORM_KEY}"
        first = await port.post(path)
        assert (await port.post(path)).content == first.content
        assert (await port.post(path, name="Bob")).content != first.content
        assert await port.ships() == 2


class TestAtOnce:
    """Of several requests at once with one key, one is carried out, and the others wait for it."""

    @pytest.fixture
    def gate(self) -> Gate:
        return Gate()

    @pytest.fixture
    async def live(self, own_settings: Settings, gate: Gate) -> AsyncIterator[Harbour]:
        """Each request has a connection of its own, which may take as long as it needs."""
        patient = own_settings.model_copy(update={"database_checkout_limit": 60.0})
        async with (
            open_resources(patient, name="tests", metrics=Metrics(patient)) as resources,
            client_of(harbour(patient, resources, gate)) as client,
        ):
            yield Harbour(client, resources.sessions)

    async def test_ten(self, live: Harbour, gate: Gate) -> None:
        gate.open.set()
        answers = await asyncio.gather(*(live.post() for _ in range(10)))
        assert len({answer.content for answer in answers}) == 1
        assert sum("idempotency-replayed" in answer.headers for answer in answers) == 9
        assert await live.ships() == 1

    @pytest.mark.parametrize("sinks", [False, True])
    async def test_the_first_takes_its_time(
        self, live: Harbour, gate: Gate, *, sinks: bool
    ) -> None:
        async def one_waits() -> bool:
            async with reading(live.sessions) as session:
                return bool(await session.scalar(WAITING))

        both = [asyncio.create_task(live.post(sinks=sinks)) for _ in range(2)]
        await eventually("the second waits for the first", one_waits)
        gate.open.set()
        codes = [answer.status_code for answer in await asyncio.gather(*both)]
        # If the first fails, the second is carried out.
        assert (codes, gate.came) == (([409, 409], 2) if sinks else ([201, 201], 1))


class TestPurge:
    """Keys are kept for IDEMPOTENCY_HOURS."""

    @pytest.mark.parametrize(("hours", "kept"), [(23, 1), (25, 0)])
    async def test_so_old(self, port: Harbour, resources: Resources, hours: int, kept: int) -> None:
        await port.post()
        before = FirstAnswer.created_at - timedelta(hours=hours)
        async with transaction(port.sessions) as session:
            await session.execute(update(FirstAnswer).values(created_at=before))
        await purge_keys({"resources": resources})
        assert await port.keys() == kept
