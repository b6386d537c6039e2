"""The errors that a client may get. Those of a feature are in its own `errors.py`.

`infra.http.problems` turns them into RFC 9457 problem documents and OpenAPI responses.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

from app.printable import printable

# In bytes. A detail, and the name of a field, may quote what the client has sent.
LONGEST_DETAIL = 1000
LONGEST_FIELD = 200


class FieldFault(TypedDict):
    """One faulty input: its place, such as `body.url` or `query.limit`, and how to correct it."""

    field: str
    detail: str


def fault_message(fault: Mapping[str, Any]) -> str:
    """The message of one of pydantic's `errors()`, without the prefix of our own `ValueError`s."""
    return str(fault["msg"]).removeprefix("Value error, ")


class AppError(Exception):
    """An error with an HTTP status. A subclass sets `code`, `status` and `title`.

    `code` is stable: clients branch on it. `detail` is for people and may change. Control
    characters in it are escaped, and a long one is cut.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldFault] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = printable(detail, most=LONGEST_DETAIL)
        self.headers = dict(headers or {})
        self.errors = tuple(
            FieldFault(
                field=printable(fault["field"], most=LONGEST_FIELD),
                detail=printable(fault["detail"], most=LONGEST_DETAIL),
            )
            for fault in errors
        )


class ValidationFailed(AppError):
    code = "validation_failed"
    status = 422
    title = "The request is not valid"


class BadRequest(AppError):
    code = "bad_request"
    status = 400
    title = "The request can't be read"


class NotFound(AppError):
    code = "not_found"
    status = 404
    title = "Not found"


class MethodNotAllowed(AppError):
    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class BodyTooLarge(AppError):
    code = "body_too_large"
    status = 413
    title = "The request body is too large"


class UnsupportedMediaType(AppError):
    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


class RequestTimeout(AppError):
    code = "request_timeout"
    status = 408
    title = "The request took too long to arrive"


class RateLimited(AppError):
    code = "rate_limited"
    status = 429
    title = "Too many requests"


class Unavailable(AppError):
    """The service can't do this now. The client should try again after `retry_after` seconds."""

    status = 503

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class DependencyUnavailable(Unavailable):
    """Something that the request needs, such as Postgres, fails."""

    code = "dependency_unavailable"
    title = "A dependency is unavailable"


class Overloaded(Unavailable):
    """So many requests wait, or are worked on, that this one was refused at once."""

    code = "overloaded"
    title = "Too many requests at once"


class RowsLocked(Unavailable):
    """Another transaction holds what this one wants to change. Nothing was changed."""

    code = "rows_locked"
    title = "The data is being changed by another request"


class QueryTimedOut(Unavailable):
    """The database works, but took too long for this request. Nothing was changed."""

    code = "query_timed_out"
    title = "The query took too long"


class InternalError(AppError):
    code = "internal_error"
    status = 500
    title = "Internal server error"
