"""/api/v1/tokens. A token gives, and takes, only what it has itself."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from app.features.tokens import service
from app.features.tokens.auth import Authenticated
from app.features.tokens.errors import ScopeMissing, TokenInvalid, TokenNotFound
from app.features.tokens.known import Caller, known_tokens
from app.features.tokens.schemas import TokenCreate, TokenCreated, TokenPage, TokenRead
from app.features.tokens.scopes import TOKENS_WRITE
from app.infra.audit import record
from app.infra.db import SessionDep, after_commit
from app.infra.http.idempotency import AnswerNotKept, KeyReused, once
from app.infra.http.pages import PageDep
from app.infra.http.problems import API_ERRORS, ProblemRouter, responses
from app.infra.lifespan import Resources

Manager = Annotated[Caller, Depends(Authenticated(TOKENS_WRITE, "write"))]
# The answer holds the token itself, which is stored nowhere.
Maker = Annotated[Caller, Depends(once(Authenticated(TOKENS_WRITE, "write"), keeps_body=False))]

router = ProblemRouter(
    prefix="/api/v1/tokens",
    tags=["tokens"],
    responses=responses(*API_ERRORS, TokenInvalid, ScopeMissing),
)


@router.post("", status_code=201, responses=responses(KeyReused, AnswerNotKept))
async def create_token(
    body: TokenCreate,
    maker: Maker,
    session: SessionDep,
    request: Request,
    response: Response,
) -> TokenCreated:
    """Create a token. Its text is in this answer only; keep it.

    It belongs to the token that makes it: it has no other scopes, ends no later (without
    `expires_at`, at the same time), and is revoked with it.

    A request that is sent again with its `Idempotency-Key` makes no second token, and names the one
    that was made.
    """
    token, text = await service.create_child(session, data=body, parent_id=maker.id)
    made = partial(record, request, "token_created", actor=maker.id, subject=str(token.id))
    after_commit(session, made)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"{router.prefix}/{token.id}"
    return TokenCreated.of(TokenRead.model_validate(token), text)


@router.get("")
async def list_tokens(_manager: Manager, session: SessionDep, page: PageDep) -> TokenPage:
    """All tokens, newest first, without their secrets."""
    found = await service.list_tokens(session, page=page)
    items = [TokenRead.model_validate(token) for token in found.items]
    return TokenPage(items=items, next_cursor=found.next_cursor)


@router.delete("/{token_id}", status_code=204, responses=responses(TokenNotFound))
async def revoke_token(
    token_id: UUID, manager: Manager, session: SessionDep, request: Request
) -> None:
    """Revoke a token and all that it has made, for good. They stay in the list.

    Your token needs all scopes of the one that it revokes. This process refuses a revoked token at
    once, the others within TOKEN_CACHE_SECONDS.
    """
    revoked = await service.revoke_token(session, token_id=token_id, by=manager.id)
    resources: Resources = request.state.resources

    async def forget() -> None:
        known_tokens(resources).forget(revoked)
        for one in revoked:
            await record(request, "token_revoked", actor=manager.id, subject=str(one))

    after_commit(session, forget)
