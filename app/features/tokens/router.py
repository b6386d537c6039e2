"""/api/v1/tokens. A token can only give scopes that it has itself."""

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
from app.infra.http.pages import PageDep
from app.infra.http.problems import API_ERRORS, ProblemRouter, responses
from app.infra.lifespan import Resources

Manager = Annotated[Caller, Depends(Authenticated(TOKENS_WRITE, "write"))]

router = ProblemRouter(
    prefix="/api/v1/tokens",
    tags=["tokens"],
    responses=responses(*API_ERRORS, TokenInvalid, ScopeMissing),
)


@router.post("", status_code=201)
async def create_token(
    body: TokenCreate,
    manager: Manager,
    session: SessionDep,
    request: Request,
    response: Response,
) -> TokenCreated:
    """Create a token. Its text is in this answer only; keep it."""
    lacking = sorted(set(body.scopes) - manager.scopes)
    if lacking:
        raise ScopeMissing(f"A token can't give scopes that it lacks: {', '.join(lacking)}.")
    token, text = await service.create_token(
        session, name=body.name, scopes=body.scopes, expires_at=body.expires_at
    )
    made = partial(record, request, "token_created", actor=manager.id, subject=str(token.id))
    after_commit(session, made)
    response.headers["Cache-Control"] = "no-store"
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
    """Revoke a token for good. It stays in the list.

    This process refuses it at once, the others within TOKEN_CACHE_SECONDS.
    """
    await service.revoke_token(session, token_id=token_id)
    resources: Resources = request.state.resources

    async def revoked() -> None:
        known_tokens(resources).forget(token_id)
        await record(request, "token_revoked", actor=manager.id, subject=str(token_id))

    after_commit(session, revoked)
