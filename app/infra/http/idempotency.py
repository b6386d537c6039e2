"""Idempotency keys: a request that is sent again changes nothing, and gets the first answer.

A route takes keys if its caller is `Depends(once(…))`. The first request stores its key, and then
its answer, in the transaction of its own change: both are committed, or neither. A second one with
the key waits for that commit. An answer with an error is not stored, since it has changed nothing.
"""

import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Protocol
from uuid import UUID

import structlog
from fastapi import Depends, Header, Query, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import CheckConstraint, Index, LargeBinary, Text, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.errors import AppError, DependencyUnavailable
from app.infra.db import Base, SessionDep
from app.infra.http.answers import Answered
from app.infra.lifespan import Resources
from app.infra.purge import delete_in_batches
from app.infra.queue import JobContext

log = structlog.get_logger(__name__)

LONGEST_KEY = 255

# The header of an IETF draft (draft-ietf-httpapi-idempotency-key-header). The quotes that it asks
# for are taken as a part of the key.
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=LONGEST_KEY,
        pattern="^[!-~]+$",
        description=(
            "Of your choice, such as a UUID. The same request with the same key is carried out "
            "once, however often it is sent; must not come with other data than before."
        ),
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]
# Of a page's form, whose address ends with it: a file need not be read to find it.
FormKey = Annotated[str | None, Query(alias="key", pattern="^[0-9a-f]{32}$")]


class KeyReused(AppError):
    code = "idempotency_key_reused"
    status = 422
    title = "This Idempotency-Key belongs to another request"


class AnswerNotKept(AppError):
    code = "answer_not_kept"
    status = 409
    title = "This request was carried out before, and its answer is not stored"


class FirstAnswer(Base):
    """A key, the request that it came with, and how that was answered."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        CheckConstraint(f"char_length(key) <= {LONGEST_KEY}", name="key_length"),
        CheckConstraint("octet_length(request_digest) = 32", name="digest_is_sha256"),
        Index(None, "created_at"),
    )

    caller: Mapped[UUID] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(Text, primary_key=True)  # POST /api/v1/ships/{name}
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request_digest: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(
        TIMESTAMP(timezone=True), server_default=text("now()")
    )
    status: Mapped[int | None]
    location: Mapped[str | None] = mapped_column(Text)
    media_type: Mapped[str | None] = mapped_column(Text)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


class HasId(Protocol):
    @property
    def id(self) -> UUID: ...


Who = Callable[..., Awaitable[HasId]]


def once(who: Who, *, keeps_body: bool = True) -> Who:
    """A dependency that returns the caller `who`, for a route whose requests may have a key.

    With `keeps_body=False` the body of the answer, which may hold a secret, is not stored. A
    request that is sent again then gets `AnswerNotKept`, which names what was made.
    """

    async def caller_once(
        request: Request,
        session: SessionDep,
        caller: Annotated[HasId, Depends(who)],
        key: IdempotencyKey = None,
    ) -> HasId:
        if key is not None:
            content = await request.body()
            begun = await begin(request, session, caller.id, key, content, keeps_body=keeps_body)
            request.state.begun = begun
        return caller

    return caller_once


def once_on_page(who: Who) -> Who:
    """The same for a form of a page. The key with other data is another request."""

    async def visitor_once(
        request: Request,
        session: SessionDep,
        caller: Annotated[HasId, Depends(who)],
        key: FormKey = None,
    ) -> HasId:
        if key is not None:
            content = await request.body()
            request.state.begun = await begin_form(request, session, caller.id, key, content)
        return caller

    return visitor_once


async def begin_form(
    request: Request, session: AsyncSession, caller: UUID, key: str, content: bytes
) -> "Begun":
    key = f"{key}:{hashlib.sha256(content).hexdigest()}"
    return await begin(request, session, caller, key, content)


async def begin(
    request: Request,
    session: AsyncSession,
    caller: UUID,
    key: str,
    content: bytes,
    *,
    keeps_body: bool = True,
) -> "Begun":
    """Store the key in the transaction of the change. `content` is what the request is about.

    The caller stores the answer in the same transaction: with `Begun.end`, or as `OnceRoute` does
    with `request.state.begun`. Raises `Answered` with the answer that is stored already,
    `KeyReused` and `AnswerNotKept`.
    """
    digest = hashlib.sha256(f"{request.url.path}?{request.url.query}\n".encode() + content).digest()
    mine = {
        "caller": caller,
        "operation": f"{request.method} {request.scope['route'].path}",
        "key": key,
    }
    new = (
        insert(FirstAnswer)
        .values(**mine, request_digest=digest)
        .on_conflict_do_nothing()  # after it has waited for the other transaction
        .returning(FirstAnswer.key)
    )
    if await session.scalar(new) is not None:
        return Begun(session, mine, keeps_body)
    first: FirstAnswer | None = await session.scalar(select(FirstAnswer).filter_by(**mine))
    if first is None:  # purged in this moment
        raise DependencyUnavailable("The key has just ended. Try again.")
    if first.request_digest != digest:
        raise KeyReused("The key came with other data before: send a new one with a new request.")
    if first.status is None or first.body is None:
        raise AnswerNotKept(
            f"It has made {first.location}. The answer held a secret, which is stored nowhere. If "
            "you did not get it, delete that, and send the request with a new key."
        )
    headers = {"Idempotency-Replayed": "true"}
    headers |= {"Location": first.location} if first.location is not None else {}
    raise Answered(Response(first.body, first.status, headers, first.media_type))


@dataclass(frozen=True)
class Begun:
    """A request that is the first with its key."""

    session: AsyncSession
    mine: dict[str, Any]  # its primary key
    keeps_body: bool

    async def end(self, answer: Response) -> None:
        """Store the answer, for the commit that follows."""
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            await self.session.execute(delete(FirstAnswer).filter_by(**self.mine))
            return
        await self.session.execute(
            update(FirstAnswer)
            .filter_by(**self.mine)
            .values(
                status=answer.status_code,
                location=answer.headers.get("location"),
                media_type=answer.headers.get("content-type"),
                body=bytes(answer.body) if self.keeps_body else None,
            )
            .execution_options(synchronize_session=False)
        )


class OnceRoute(APIRoute):
    """A route that stores the answer to a request with a key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            answer = await handle(request)
            begun: Begun | None = getattr(request.state, "begun", None)
            if begun is not None:
                await begun.end(answer)
            return answer

        return handle_once


async def purge_keys(context: JobContext) -> None:
    """Delete keys and answers after IDEMPOTENCY_HOURS."""
    resources: Resources = context["resources"]
    kept = timedelta(hours=resources.settings.idempotency_hours)
    old = FirstAnswer.created_at < func.now() - kept
    purged = await delete_in_batches(resources.sessions, FirstAnswer, old)
    log.info("idempotency_keys_purged", keys=purged)
