"""The valid tokens that this process has looked up. A request with one of them needs no query.

So a revoked token is refused at once by the process that revoked it, and within TOKEN_CACHE_SECONDS
by the others.
"""

import hmac
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

from app.features.tokens.errors import TokenInvalid
from app.features.tokens.service import find_valid, is_use_news, note_use, parse_token
from app.features.tokens.settings import TokensSettings
from app.infra.db import Sessions, reading, transaction
from app.infra.http.limits import RateLimiter
from app.infra.lifespan import Resources

NAME = "tokens"
MOST = 10_000  # tokens that a process remembers, in about 10 MB; then it forgets the oldest


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token a request came with."""

    id: UUID
    name: str
    scopes: frozenset[str]
    expires_at: datetime | None


@dataclass(slots=True)
class _Known:
    caller: Caller
    hash: bytes
    fresh_until: float  # on the monotonic clock


class KnownTokens:
    """Answers who sends a token, from memory or from the database."""

    def __init__(self, sessions: Sessions, *, seconds: float) -> None:
        self._sessions = sessions
        self._seconds = seconds
        self._known: OrderedDict[UUID, _Known] = OrderedDict()

    async def authenticate(self, text: str | None, *, address: str, limiter: RateLimiter) -> Caller:
        """The caller with this token. Raises `TokenInvalid`, and `RateLimited` for guessing.

        Failures count against the limit of the address. When that is used up, tokens from there
        are refused without a query, except those that this process has seen valid. So a client
        can't lock out others behind its address.
        """
        try:
            return await self._find(text, address, limiter)
        except TokenInvalid:
            limiter.hit("login", address)
            raise

    def forget(self, token_id: UUID) -> None:
        """Look the token up again at its next use."""
        self._known.pop(token_id, None)

    async def _find(self, text: str | None, address: str, limiter: RateLimiter) -> Caller:
        token_id, given = parse_token(text)
        known = self._known.get(token_id)
        if known is not None and hmac.compare_digest(known.hash, given):
            now = time.monotonic()
            if now < known.fresh_until:
                return known.caller
            # One request looks it up again. Those that come meanwhile need not wait.
            known.fresh_until = now + self._seconds
        else:
            limiter.check("login", address)
        try:
            return await self._look_up(token_id, given)
        except BaseException:
            self.forget(token_id)
            raise

    async def _look_up(self, token_id: UUID, given: bytes) -> Caller:
        async with reading(self._sessions) as session:
            token = await find_valid(session, token_id=token_id, secret_hash=given)
        if is_use_news(token):
            async with transaction(self._sessions) as session:
                await note_use(session, token_id=token_id)
        caller = Caller(token.id, token.name, frozenset(token.scopes), token.expires_at)
        fresh = self._seconds
        if token.expires_at is not None:
            fresh = min(fresh, (token.expires_at - datetime.now(UTC)).total_seconds())
        if len(self._known) >= MOST:
            self._known.popitem(last=False)
        self._known[token_id] = _Known(caller, given, time.monotonic() + fresh)
        return caller


@asynccontextmanager
async def open_runtime(resources: Resources) -> AsyncIterator[KnownTokens]:
    seconds = resources.settings.of(TokensSettings).token_cache_seconds
    yield KnownTokens(resources.sessions, seconds=seconds)


def known_tokens(resources: Resources) -> KnownTokens:
    return cast("KnownTokens", resources.features[NAME])
