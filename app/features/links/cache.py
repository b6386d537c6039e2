"""The cache of redirect targets in Redis, and the scripts that use it.

An advanced example: see this package's docstring. A change deletes the entry, and readers write it.
A reader could write what was true before the change. So it must hold a lease (as in memcached): a
lookup that finds no entry leaves a lease in its place, and only its holder may write. A change
deletes the lease as well. If entries or leases are lost, expire or are evicted, or if a command is
late, then an entry is missing, and none is wrong.

An entry is `<expires, ms, 0 for never>|<link id>|<url>`, `-` if there is no such link, or
`?<batch>`, which is the lease of the lookup with this name.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.features.links.models import Link

STREAM = "drydock:clicks"
KEY = "drydock:target:"
NO_LINK = "-"
LEASE = 5  # seconds; a reader that takes longer writes nothing

# A script that Redis runs later than this after it was sent appends nothing. Unconfirmed clicks are
# reconciled after a longer time, when no append can arrive any more.
LATEST_RUN = 5.0  # seconds on the clock of Redis; the clocks of the hosts don't matter

# KEYS: the stream, then the slugs' keys. ARGV: the latest time to run (ms), the batch's name, the
# seconds of a lease, then the number of clicks for each slug. Returns the time (ms) and what each
# key holds. Clicks of live entries were appended to the stream. The first line has Redis refuse the
# script as a whole if it can't write, because its memory is full or it is a replica.
FOLLOW = """#!lua
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[1]) then return redis.error_reply('TOOLATE this came too late to count') end
local held = redis.call('MGET', unpack(KEYS, 2))
local entry = {'b', ARGV[2]}
for i = 1, #held do
  if not held[i] then
    redis.call('SET', KEYS[i + 1], '?' .. ARGV[2], 'EX', ARGV[3])
  elseif string.sub(held[i], 1, 1) == '?' then
    held[i] = false
  else
    local expires, id = string.match(held[i], '^(%d+)|([^|]+)|')
    if id then
      if expires ~= '0' and now >= tonumber(expires) then
        held[i] = 'expired'
      elseif ARGV[i + 3] ~= '0' then
        entry[#entry + 1] = id
        entry[#entry + 1] = ARGV[i + 3]
      end
    end
  end
end
if #entry > 2 then redis.call('XADD', KEYS[1], '*', unpack(entry)) end
return {now, held}
"""

# KEYS: the slug's key. ARGV: the batch whose lease it must hold, the entry, seconds to live.
FILL = """#!lua
if redis.call('GET', KEYS[1]) == '?' .. ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a slug leads."""

    link_id: str
    url: str

    @classmethod
    def of_entry(cls, entry: bytes) -> Self | None:
        """None if there is no such link, and for one that has expired."""
        location = location_of(entry)
        return (
            None if location is None else cls(entry.split(b"|", 2)[1].decode(), location.decode())
        )


def location_of(entry: bytes) -> bytes | None:
    """The URL in the entry; None if there is no such link, and for one that has expired."""
    parts = entry.split(b"|", 2)
    return parts[2] if len(parts) == 3 else None  # noqa: PLR2004 -- the parts of a live entry


def make_entry(link: Link | None) -> str:
    if link is None:
        return NO_LINK
    expires = int(link.expires_at.timestamp() * 1000) if link.expires_at else 0
    return f"{expires}|{link.id}|{link.url}"


class LinkCache:
    """The entries of slugs. Its methods raise what redis-py raises, and have no timeout."""

    def __init__(self, redis: Redis, *, ttl: int) -> None:
        self._redis = redis
        self._ttl = ttl
        self._follow = redis.register_script(FOLLOW)
        self._fill = redis.register_script(FILL)
        self._ahead: float | None = None  # ms that Redis's clock is ahead of our monotonic one

    async def follow(self, batch: str, clicks: dict[str, int]) -> list[bytes | None]:
        """Look up the slugs of {slug: clicks} and append their clicks to the stream, atomically.

        Returns an entry for each slug. Only clicks of live entries are appended, under the name
        `batch`. Where there is no entry, the batch has the lease, unless another one has it.
        """
        sent = time.monotonic() * 1000
        if self._ahead is None:
            seconds, microseconds = await self._redis.time()
            self._ahead = seconds * 1000 + microseconds / 1000 - sent
        latest = int(sent + self._ahead + LATEST_RUN * 1000)
        try:
            now, held = await self._follow(
                keys=[STREAM, *(KEY + slug for slug in clicks)],
                args=[latest, batch, LEASE, *clicks.values()],
            )
        except ResponseError:
            self._ahead = None  # perhaps this is another server, with another clock
            raise
        self._ahead = now - sent
        answer: list[bytes | None] = held
        return answer

    async def fill(self, slug: str, link: Link | None, *, lease: str) -> None:
        """Write what a reader found in Postgres after the lookup `lease`, if it has the lease."""
        await self._fill(keys=[KEY + slug], args=[lease, make_entry(link), self._ttl])

    async def forget(self, slugs: Sequence[str]) -> None:
        """Delete the entries and leases of slugs that were changed. Call it after the commit."""
        await self._redis.delete(*(KEY + slug for slug in slugs))
