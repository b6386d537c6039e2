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

from app.features.tokens.errors import TokenInvalid, TokenNotFound
from app.features.tokens.models import Token
from app.infra.http.pages import PageRequest, Rows, read_page

# Secret scanners recognise it by its prefix and its lengths.
TOKEN = re.compile(r"drydock_([0-9a-f]{32})_([0-9a-f]{64})")
USED_EVERY = timedelta(minutes=1)  # `last_used_at` is written at most this often


async def create_token(
    session: AsyncSession, *, name: str, scopes: Sequence[str], expires_at: datetime | None = None
) -> tuple[Token, str]:
    """Store a new token. Returns it with its text, which is stored nowhere."""
    secret = secrets.token_bytes(32)
    token = Token(
        name=name,
        scopes=list(scopes),
        hash=hashlib.sha256(secret).digest(),
        expires_at=expires_at,
    )
    session.add(token)
    await session.flush()
    await session.refresh(token)
    return token, f"drydock_{token.id.hex}_{secret.hex()}"


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
    now = datetime.now(UTC)
    if (
        token is None
        or not hmac.compare_digest(token.hash, secret_hash)
        or token.revoked_at is not None
        or (token.expires_at is not None and token.expires_at <= now)
    ):
        raise TokenInvalid("The token is unknown, expired or revoked.")
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


async def revoke_token(session: AsyncSession, *, token_id: UUID) -> None:
    """Make the token invalid from the commit on. A second call keeps the first time."""
    changed = await session.scalar(
        update(Token)
        .where(Token.id == token_id)
        .values(revoked_at=func.coalesce(Token.revoked_at, func.now()))
        .returning(Token.id)
        .execution_options(synchronize_session=False)
    )
    if changed is None:
        raise TokenNotFound("No token has this id.")
