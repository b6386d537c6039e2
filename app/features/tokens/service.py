"""Create, check, list and revoke tokens."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import ValidationFailed
from app.features.tokens.errors import ScopeMissing, TokenInvalid, TokenNotFound
from app.features.tokens.models import Token
from app.features.tokens.schemas import TokenCreate
from app.features.tokens.scopes import declared_scopes
from app.infra.http.pages import PageRequest, Rows, read_page

# Secret scanners recognise it by its prefix and its lengths.
TOKEN = re.compile(r"drydock_([0-9a-f]{32})_([0-9a-f]{64})")
USED_EVERY = timedelta(minutes=1)  # `last_used_at` is written at most this often
NOT_VALID = "The token is unknown, expired or revoked."
FAMILY_LOCK = 7_232_372  # any number; it identifies the advisory lock within this database


async def create_token(
    session: AsyncSession,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    created_by: UUID | None = None,
) -> tuple[Token, str]:
    """Store a new token. Returns it with its text, which is stored nowhere."""
    secret = secrets.token_bytes(32)
    token = Token(
        name=name,
        scopes=list(scopes),
        hash=hashlib.sha256(secret).digest(),
        expires_at=expires_at,
        created_by=created_by,
    )
    session.add(token)
    await session.flush()
    await session.refresh(token)
    return token, f"drydock_{token.id.hex}_{secret.hex()}"


async def create_child(
    session: AsyncSession, *, data: TokenCreate, parent_id: UUID
) -> tuple[Token, str]:
    """Store a token that the token `parent_id` makes: within its scopes, ending when it ends.

    Raises `TokenInvalid` if the parent was revoked or has expired meanwhile, `ScopeMissing` and
    `ValidationFailed`.
    """
    # A parent that is revoked at the same time has this child, or the child is refused.
    await session.execute(select(func.pg_advisory_xact_lock_shared(FAMILY_LOCK)))
    parent = await _find_actor(session, parent_id)
    lacking = sorted(set(data.scopes) - set(parent.scopes))
    if lacking:
        raise ScopeMissing(f"A token can't give scopes that it lacks: {', '.join(lacking)}.")
    ends = data.expires_at or parent.expires_at
    if parent.expires_at is not None and ends is not None and ends > parent.expires_at:
        until = f"must not be after {parent.expires_at.isoformat()}, when your own token expires"
        raise ValidationFailed(
            "A token can't outlive the one that makes it.",
            errors=[{"field": "body.expires_at", "detail": until}],
        )
    return await create_token(
        session, name=data.name, scopes=data.scopes, expires_at=ends, created_by=parent_id
    )


def id_in(text: str) -> str | None:
    """The id that the text of a token names, valid or not; None if it is malformed."""
    parts = TOKEN.fullmatch(text)
    return None if parts is None else str(UUID(hex=parts[1]))


def parse_token(text: str | None) -> tuple[UUID, bytes]:
    """The id and the hash of the secret. Raises `TokenInvalid`.

    A plain SHA-256 is enough, because the secret has 256 random bits and can't be guessed.
    """
    if text is None:
        raise TokenInvalid("Send a token: Authorization: Bearer drydock_…")
    parts = TOKEN.fullmatch(text)
    if parts is None:
        raise TokenInvalid("The token is malformed.")
    return UUID(parts[1]), hashlib.sha256(bytes.fromhex(parts[2])).digest()


async def find_valid(session: AsyncSession, *, token_id: UUID, secret_hash: bytes) -> Token:
    """The token with this id and this secret. Raises `TokenInvalid`."""
    token = await session.get(Token, token_id)
    if token is None or not hmac.compare_digest(token.hash, secret_hash) or not is_valid(token):
        raise TokenInvalid(NOT_VALID)
    return token


def is_valid(token: Token) -> bool:
    """Whether it is neither revoked nor expired."""
    if token.revoked_at is not None:
        return False
    return token.expires_at is None or token.expires_at > datetime.now(UTC)


async def _find_actor(session: AsyncSession, token_id: UUID) -> Token:
    """The token that a request came with, as it is now: it may have been valid from memory."""
    token = await session.get(Token, token_id, populate_existing=True)
    if token is None or not is_valid(token):
        raise TokenInvalid(NOT_VALID)
    return token


def is_use_news(token: Token) -> bool:
    """Whether `last_used_at` should be written now."""
    return token.last_used_at is None or datetime.now(UTC) - token.last_used_at > USED_EVERY


async def note_use(session: AsyncSession, *, token_id: UUID) -> None:
    """Write `last_used_at`, unless another transaction writes to the row."""
    # skip_locked: requests with the same token must not wait for each other.
    # key_share: a request that inserts a row with a reference to this token is not blocked. Without
    # it two requests that insert the same unique key could deadlock.
    free = (
        select(Token.id)
        .where(Token.id == token_id)
        .with_for_update(skip_locked=True, key_share=True)
    )
    await session.execute(
        update(Token)
        .where(Token.id.in_(free))
        .values(last_used_at=func.now())
        .execution_options(synchronize_session=False)
    )


async def list_tokens(session: AsyncSession, *, page: PageRequest) -> Rows[Token]:
    """Newest first."""
    return await read_page(session, select(Token), Token.id, page)


async def revoke_token(session: AsyncSession, *, token_id: UUID, by: UUID) -> list[UUID]:
    """Make the token invalid from the commit on, with all that it has made, and so on.

    Returns the ids of those that were valid before. A token may revoke itself, those that it has
    made, and any other whose scopes it has. Raises `TokenNotFound`, `ScopeMissing`, and
    `TokenInvalid` if the token `by` was revoked meanwhile.
    """
    # After this statement, all children are committed, and no new one can be made.
    await session.execute(select(func.pg_advisory_xact_lock(FAMILY_LOCK)))
    actor = await _find_actor(session, by)
    token = await session.get(Token, token_id)
    if token is None:
        raise TokenNotFound("No token has this id.")
    # A scope that this version does not know allows nothing, so anybody may take it.
    lacking = sorted((set(token.scopes) & declared_scopes().keys()) - set(actor.scopes))
    if lacking:
        raise ScopeMissing(f"Your token can't revoke one with more scopes: {', '.join(lacking)}.")
    family = select(Token.id).where(Token.id == token_id).cte("family", recursive=True)
    family = family.union(select(Token.id).where(Token.created_by == family.c.id))
    revoked = await session.scalars(
        update(Token)
        .where(Token.id.in_(select(family.c.id)), Token.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(Token.id)
        .execution_options(synchronize_session=False)
    )
    return list(revoked)
