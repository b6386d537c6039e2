"""Sessions: a browser signs in with a token once, and its cookie then holds a secret of its own.

A session ends when the person signs out, after SESSION_IDLE_SECONDS without a request,
SESSION_SECONDS after it began, or with its token.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.tokens.errors import TokenInvalid
from app.features.tokens.models import BrowserSession, Token
from app.features.tokens.service import is_valid

SECRET = re.compile(r"[0-9a-f]{64}")
SEEN_EVERY = timedelta(minutes=1)  # `last_seen_at` is written at most this often


async def open_session(session: AsyncSession, *, token_id: UUID, seconds: int) -> str:
    """Store a new session. Returns the secret for the cookie, which is stored nowhere."""
    secret = secrets.token_bytes(32)
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    digest = hashlib.sha256(secret).digest()
    session.add(BrowserSession(hash=digest, token_id=token_id, expires_at=ends))
    await session.flush()
    return secret.hex()


def parse_secret(text: str) -> bytes:
    """The hash of a cookie's secret. Raises `TokenInvalid`."""
    if SECRET.fullmatch(text) is None:
        raise TokenInvalid("The session is malformed.")
    return hashlib.sha256(bytes.fromhex(text)).digest()


async def find_session(
    session: AsyncSession, *, secret_hash: bytes, idle: timedelta
) -> tuple[BrowserSession, Token, datetime]:
    """The session with this secret, its token, and when it ends unless it is used.

    Raises `TokenInvalid`.
    """
    query = (
        select(BrowserSession, Token)
        .join(Token, Token.id == BrowserSession.token_id)
        .where(BrowserSession.hash == secret_hash)
    )
    row = (await session.execute(query)).one_or_none()
    if row is not None:
        found, token = row
        ends = min(found.expires_at, found.last_seen_at + idle)
        if is_valid(token) and ends > datetime.now(UTC):
            return found, token, min(ends, token.expires_at or ends)
    raise TokenInvalid("The session is unknown, or has ended.")


async def note_seen(session: AsyncSession, *, secret_hash: bytes) -> None:
    await session.execute(
        update(BrowserSession)
        .where(BrowserSession.hash == secret_hash)
        .values(last_seen_at=func.now())
        .execution_options(synchronize_session=False)
    )


async def end_session(session: AsyncSession, *, secret_hash: bytes) -> UUID | None:
    """Delete the session. Returns the id of its token; None if there is no such session."""
    ended: UUID | None = await session.scalar(
        delete(BrowserSession)
        .where(BrowserSession.hash == secret_hash)
        .returning(BrowserSession.token_id)
    )
    return ended
