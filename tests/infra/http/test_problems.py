"""Errors as RFC 9457 problem documents, whatever raises them."""

from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field, field_validator
from sqlalchemy import exc
from starlette.exceptions import HTTPException

from app.config import Settings
from app.errors import AppError, DependencyUnavailable, NotFound
from app.infra.http.middleware import add_middleware
from app.infra.http.problems import MOST_FAULTS, install_problem_handlers, responses
from app.infra.metrics import Metrics
from tests.live import WithState, client_of
from tests.logs import captured_logs, named
from tests.problems import check_problem


class ShipSunk(AppError):
    code = "ship_sunk"
    status = 409
    title = "The ship has sunk"


class ShipLost(AppError):
    code = "ship_lost"
    status = 409
    title = "The ship is lost"


class Voyage(BaseModel):
    days: int = Field(ge=1)
    ports: list[int]

    @field_validator("days")
    @classmethod
    def refuse_thirteen(cls, value: int) -> int:
        if value == 13:
            raise ValueError("must not bring bad luck")
        return value


RAISED: dict[str, Exception] = {
    "own": ShipSunk(
        "It sank.", headers={"X-Depth": "40"}, errors=[{"field": "hull", "detail": "?"}]
    ),
    "away": DependencyUnavailable("Away.", retry_after=3),
    "bug": KeyError("SELECT secret"),
    "sql": exc.IntegrityError(
        "INSERT INTO secrets", {"a": "secret"}, psycopg.errors.CheckViolation()
    ),
    "pool": exc.TimeoutError("QueuePool limit"),
    "dead": exc.OperationalError("SELECT 1", {}, psycopg.OperationalError("10.0.0.7 refused")),
    "driver": psycopg.OperationalError("10.0.0.7 refused"),
    "teapot": HTTPException(418, "short and stout"),
}


@pytest.fixture
async def ships(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An application that raises each of these errors, inside the middleware of production."""
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise RAISED[name]

    @app.post("/voyages")
    async def sail(voyage: Voyage, captain: str) -> None: ...

    async with client_of(
        WithState(add_middleware(app, settings, Metrics(settings), []), {})
    ) as client:
        yield client


class TestErrors:
    """Errors of the service keep their details. Internal errors show none; the log has them."""

    async def test_an_error_of_the_service_keeps_its_headers_and_faults(
        self, ships: httpx.AsyncClient
    ) -> None:
        answer = await ships.get("/raise/own")
        problem = check_problem(answer, 409, "ship_sunk")
        assert (problem["title"], problem["detail"]) == ("The ship has sunk", "It sank.")
        assert problem["errors"] == [{"field": "hull", "detail": "?"}]
        assert answer.headers["x-depth"] == "40"
        assert (await ships.get("/raise/away")).headers["retry-after"] == "3"

    async def test_an_unknown_status_becomes_400(self, ships: httpx.AsyncClient) -> None:
        problem = check_problem(await ships.get("/raise/teapot"), 400, "bad_request")
        assert problem["detail"] == "short and stout"

    async def test_405_names_all_methods_of_the_path(self, client: httpx.AsyncClient) -> None:
        answer = await client.put("/api/v1/tokens")
        check_problem(answer, 405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "POST"}

    @pytest.mark.parametrize("name", ["bug", "sql"])
    async def test_500_shows_no_details(self, ships: httpx.AsyncClient, name: str) -> None:
        with captured_logs() as events:
            answer = await ships.get(f"/raise/{name}")
        problem = check_problem(answer, 500, "internal_error")
        assert "secret" not in answer.text
        logged = named(events, "unhandled_error")[0]
        assert logged["request_id"] == problem["request_id"]
        assert logged["exc_info"] is RAISED[name]

    @pytest.mark.parametrize("name", ["pool", "dead", "driver"])
    async def test_503_while_postgres_is_down(self, ships: httpx.AsyncClient, name: str) -> None:
        with captured_logs() as events:
            answer = await ships.get(f"/raise/{name}")
        check_problem(answer, 503, "dependency_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert "10.0.0.7" not in answer.text
        assert [event["event"] for event in events] == ["database_unavailable", "request"]


class TestFaults:
    """A faulty input is named by where it stands."""

    async def test_in_the_body_and_in_the_query(self, ships: httpx.AsyncClient) -> None:
        answer = await ships.post("/voyages", json={"days": 13, "ports": [1, "hunter2"]})
        faults = {fault["field"]: fault["detail"] for fault in answer.json()["errors"]}
        assert set(faults) == {"query.captain", "body.days", "body.ports.1"}
        assert faults["body.days"] == "must not bring bad luck"
        assert "hunter2" not in answer.text  # no input is repeated

    async def test_broken_json_is_named_by_its_place(self, ships: httpx.AsyncClient) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await ships.post("/voyages?captain=x", content=b'{"days": }', headers=headers)
        (fault,) = answer.json()["errors"]
        assert fault["field"] == "body"
        assert fault["detail"].startswith("is not JSON at character 9")

    async def test_their_number_is_limited(self, ships: httpx.AsyncClient) -> None:
        body = {"days": 1, "ports": ["x"] * 500}
        answer = await ships.post("/voyages?captain=x", json=body)
        assert len(answer.json()["errors"]) == MOST_FAULTS

    async def test_an_endless_body_is_413(self, api: httpx.AsyncClient) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 4096

        headers = {"Content-Type": "application/json"}
        answer = await api.post("/api/v1/tokens", content=endless(), headers=headers)
        check_problem(answer, 413, "body_too_large")


class TestDocument:
    """The OpenAPI document declares errors by their status."""

    def test_errors_of_one_status_share_an_entry(self) -> None:
        declared = responses(ShipSunk, NotFound, ShipLost)
        assert set(declared) == {404, 409}
        assert "ship_sunk" in declared[409]["description"]
        assert "ship_lost" in declared[409]["description"]
