"""Errors as RFC 9457 problem documents: exception handlers, and entries for OpenAPI."""

from collections.abc import Callable
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from psycopg import Error as PostgresError
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from app.errors import (
    AppError,
    BadRequest,
    BodyTooLarge,
    DependencyUnavailable,
    FieldFault,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    QueryTimedOut,
    RateLimited,
    RequestTimeout,
    RowsLocked,
    UnsupportedMediaType,
    ValidationFailed,
    fault_message,
)
from app.infra.db import as_unavailable
from app.infra.http.answers import Answered, send_answer
from app.infra.http.idempotency import OnceRoute
from app.infra.traces import current_trace_id

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
MOST_FAULTS = 50  # in one answer, so that its size is limited

# Which error answers an HTTPException of Starlette or FastAPI, by its status.
BY_STATUS: dict[int, type[AppError]] = {
    error.status: error
    for error in (
        BadRequest,
        NotFound,
        MethodNotAllowed,
        RequestTimeout,
        BodyTooLarge,
        UnsupportedMediaType,
        ValidationFailed,
    )
}

# Every endpoint of the API may answer with these, besides its own errors.
API_ERRORS = (
    BadRequest,
    RequestTimeout,
    BodyTooLarge,
    ValidationFailed,
    RateLimited,
    DependencyUnavailable,
    Overloaded,
    RowsLocked,
    QueryTimedOut,
)


class Fault(BaseModel):
    """One faulty input."""

    field: str = Field(examples=["body.url"])
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details. Branch on `code`; `detail` is for people and may change."""

    type: str = Field(examples=["urn:problem-type:validation_failed"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["validation_failed"])
    request_id: str
    trace_id: str | None = None
    errors: list[Fault] | None = None


def responses(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses for errors that a handler may raise."""
    grouped: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        line = f"`{error.code}`: {error.title}."
        if error.status in grouped:
            grouped[error.status]["description"] += f" {line}"
        else:
            grouped[error.status] = {"model": Problem, "description": line}
    return grouped


class ProblemRouter(APIRouter):
    """A router that adds its responses to those of each route.

    With FastAPI's own, a route's errors replace those of the router that have the same status.
    """

    def __init__(self, *, route_class: type[APIRoute] = OnceRoute, **options: Any) -> None:
        super().__init__(route_class=route_class, **options)

    def add_api_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        responses: dict[int | str, dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        added = {
            status: _joined(self.responses.get(status, {}), answer)
            for status, answer in (responses or {}).items()
        }
        super().add_api_route(path, endpoint, responses=added, **options)


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = [answer["description"] for answer in (first, second) if "description" in answer]
    return {**first, **second, **({"description": " ".join(both)} if both else {})}


def problem_response(error: AppError, request_id: str) -> Response:
    problem = Problem(
        type=f"urn:problem-type:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        trace_id=current_trace_id(),
        errors=[Fault(**fault) for fault in error.errors] or None,
    )
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Answer each kind of exception with a problem document."""
    app.add_exception_handler(AppError, _handle)
    app.add_exception_handler(Answered, send_answer)
    app.add_exception_handler(HTTPException, _handle)
    app.add_exception_handler(ClientDisconnect, _handle)
    app.add_exception_handler(RequestValidationError, _handle)
    # These need handlers of their own: Starlette raises again after the handler for Exception.
    app.add_exception_handler(SQLAlchemyError, _handle)
    app.add_exception_handler(PostgresError, _handle)
    app.add_exception_handler(Exception, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    answer = as_app_error(error)
    if isinstance(answer, MethodNotAllowed):
        answer.headers["Allow"] = ", ".join(_allowed_methods(request))
    return problem_response(answer, request.state.request_id)


def _allowed_methods(request: Request) -> list[str]:
    """All methods of this path. Starlette's own Allow header has those of one route only."""
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def as_app_error(error: Exception) -> AppError:
    """The error that a client gets for an exception. It never holds SQL or a stack trace."""
    match error:
        case AppError():
            return error
        case RequestValidationError():
            faults = [_fault(fault) for fault in error.errors()[:MOST_FAULTS]]
            return ValidationFailed("One or more inputs are not valid.", errors=faults)
        case HTTPException():
            known = BY_STATUS.get(error.status_code, BadRequest)
            return known(_say(error), headers=error.headers)
        case ClientDisconnect():  # nobody reads the answer, but the log shows it
            return BadRequest("The client left before its body was complete.")
    unavailable = as_unavailable(error)
    if unavailable is not None:
        log.warning(
            "database_unavailable",
            code=unavailable.code,
            error=type(error).__name__,
            detail=str(error)[:300],
        )
        return unavailable
    log.error("unhandled_error", exc_info=error)
    return InternalError("The error was logged with this request's id.")


def _say(error: HTTPException) -> str:
    match error.status_code:
        case 404:
            return "There is no such path."
        case 408:
            return "The body arrived too slowly."
        case 413:
            return "The body is larger than this endpoint takes."
        case _:
            return str(error.detail)


def _fault(fault: Any) -> FieldFault:
    if fault["type"] == "json_invalid":
        place = f"at character {fault['loc'][-1]}: {fault['ctx']['error']}"
        return {"field": "body", "detail": f"is not JSON {place}"}
    return {
        "field": ".".join(str(part) for part in fault["loc"]) or "body",
        "detail": fault_message(fault),
    }
