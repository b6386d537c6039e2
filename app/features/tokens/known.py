"""The valid tokens and sessions that this process has looked up. Their requests need no query.

So a revoked token, and a session that was signed out, is refused at once by the process that ended
it, and within TOKEN_CACHE_SECONDS by the others.
"""

import hmac
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast
from uuid import UUID

from app.features.tokens.errors import TokenInvalid
from app.features.tokens.models import Token
from app.features.tokens.service import find_valid, is_use_news, note_use, parse_token
from app.features.tokens.sessions import SEEN_EVERY, find_session, note_seen, parse_secret
from app.features.tokens.settings import TokensSettings
from app.infra.db import Sessions, reading, transaction
from app.infra.http.limits import RateLimiter
from app.infra.lifespan import Resources

NAME = "tokens"
MOST = 10_000  # that a process remembers, in about 10 MB; then it forgets the oldest
NOTE_EVERY = SEEN_EVERY.total_seconds()


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
    note_at: float  # when the next use of a session has to be noted


Found = tuple[Caller, datetime | None]  # until when it is valid, if there is an end


class KnownTokens:
    """Answers who sends a token, or the cookie of a session: from memory or from the database."""

    def __init__(self, sessions: Sessions, *, seconds: float, idle: timedelta) -> None:
        self._sessions = sessions
        self._seconds = seconds
        self._idle = idle
        # Tokens by their id, sessions by the hash of their secret.
        self._known: OrderedDict[UUID | bytes, _Known] = OrderedDict()
        self._forgotten = 0  # how often something was

    async def authenticate(self, text: str | None, *, address: str, limiter: RateLimiter) -> Caller:
        """The caller with this token. Raises `TokenInvalid`, and `RateLimited` for guessing.

        Failures count against the limit of the address. When that is used up, tokens from there
        are refused without a query, except those that this process has seen valid. So a client
        can't lock out others behind its address.
        """
        with _counting_failures(limiter, address):
            token_id, given = parse_token(text)
            check = partial(limiter.check, "login", address)
            return await self._find(token_id, given, partial(self._token, token_id, given), check)

    async def authenticate_browser(
        self, text: str, *, address: str, limiter: RateLimiter, active: bool
    ) -> Caller:
        """The same for the cookie of a session. `active`: a person has asked, not a timer."""
        with _counting_failures(limiter, address):
            given = parse_secret(text)
            check = partial(limiter.check, "login", address)
            look_up = partial(self._session, given, active=active)
            return await self._find(given, given, look_up, check, active=active)

    def forget(self, token_ids: Collection[UUID]) -> None:
        """Look the tokens and their sessions up again at their next use."""
        self._forgotten += 1
        for key in [key for key, known in self._known.items() if known.caller.id in token_ids]:
            del self._known[key]

    def forget_session(self, secret_hash: bytes) -> None:
        self._forgotten += 1
        self._known.pop(secret_hash, None)

    async def _find(
        self,
        key: UUID | bytes,
        given: bytes,
        look_up: Callable[[], Awaitable[Found]],
        check: Callable[[], None],
        *,
        active: bool = False,
    ) -> Caller:
        known = self._known.get(key)
        if known is not None and hmac.compare_digest(known.hash, given):
            now = time.monotonic()
            noted = not active or now < known.note_at
            if noted and now < known.fresh_until:
                return known.caller
            # One request looks it up again. Those that come meanwhile need not wait.
            known.fresh_until = now + self._seconds
            if active:
                known.note_at = now + NOTE_EVERY
        else:
            check()
        forgotten = self._forgotten
        try:
            caller, ends = await look_up()
        except BaseException:
            self._known.pop(key, None)
            raise
        if forgotten == self._forgotten:  # else it may have been revoked during the query
            self._remember(key, caller, given, ends, noted=active)
        return caller

    def _remember(
        self, key: UUID | bytes, caller: Caller, given: bytes, ends: datetime | None, *, noted: bool
    ) -> None:
        now = time.monotonic()
        fresh = self._seconds
        if ends is not None:
            fresh = min(fresh, (ends - datetime.now(UTC)).total_seconds())
        if len(self._known) >= MOST:
            self._known.popitem(last=False)
        before = self._known.get(key)
        note_at = now + NOTE_EVERY if noted else before.note_at if before else now
        self._known[key] = _Known(caller, given, now + fresh, note_at)

    async def _token(self, token_id: UUID, given: bytes) -> Found:
        async with reading(self._sessions) as session:
            token = await find_valid(session, token_id=token_id, secret_hash=given)
        if is_use_news(token):
            async with transaction(self._sessions) as session:
                await note_use(session, token_id=token_id)
        return _caller(token), token.expires_at

    async def _session(self, given: bytes, *, active: bool) -> Found:
        async with reading(self._sessions) as session:
            found, token, ends = await find_session(session, secret_hash=given, idle=self._idle)
        if active and datetime.now(UTC) - found.last_seen_at > SEEN_EVERY:
            async with transaction(self._sessions) as session:
                await note_seen(session, secret_hash=given)
                await note_use(session, token_id=token.id)
        return _caller(token), ends


def _caller(token: Token) -> Caller:
    return Caller(token.id, token.name, frozenset(token.scopes), token.expires_at)


@contextmanager
def _counting_failures(limiter: RateLimiter, address: str) -> Iterator[None]:
    try:
        yield
    except TokenInvalid:
        limiter.hit("login", address)
        raise


@asynccontextmanager
async def open_runtime(resources: Resources) -> AsyncIterator[KnownTokens]:
    settings = resources.settings.of(TokensSettings)
    yield KnownTokens(
        resources.sessions,
        seconds=settings.token_cache_seconds,
        idle=timedelta(seconds=settings.session_idle_seconds),
    )


def known_tokens(resources: Resources) -> KnownTokens:
    return cast("KnownTokens", resources.features[NAME])
