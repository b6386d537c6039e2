"""The cache of redirect targets in Redis, and the script that each redirect runs.

An advanced example: see this package's docstring. The cache is written through: a change writes the
new target, or a tombstone for a deleted link. If it deleted the entry, a reader that has read the
old row could write that back. Readers write only where there is no entry.

An entry is `<version>|<expires, ms, 0 for never>|<link id>|<url>`; a tombstone is `<version>|-`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self
from uuid import UUID

from redis.asyncio import Redis

from app.features.links.models import Link

STREAM = "drydock:clicks"
KEY = "drydock:link:"
TOMBSTONE = "-"
READ_VERSION = 0  # of the entries that readers write: every writer's version is higher

# A script that Redis runs later than this after it was sent appends nothing. Unconfirmed clicks are
# reconciled after a longer time, when no append can arrive any more.
LATEST_RUN = 5.0  # seconds; the clocks of the hosts must agree to within this

# KEYS: the stream, then the slugs' keys. ARGV: the latest time to run (ms), the batch's name, then
# the number of clicks for each slug. Returns what each key holds. Clicks of live entries were
# appended to the stream.
FOLLOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[1]) then return redis.error_reply('TOOLATE this came too late to count') end
local held = redis.call('MGET', unpack(KEYS, 2))
local entry = {'b', ARGV[2]}
for i = 1, #held do
  if held[i] then
    local expires, id = string.match(held[i], '^%d+|(%d+)|([^|]+)|')
    if id then
      if expires ~= '0' and now >= tonumber(expires) then
        held[i] = 'expired'
      elseif ARGV[i + 2] ~= '0' then
        entry[#entry + 1] = id
        entry[#entry + 1] = ARGV[i + 2]
      end
    end
  end
end
if #entry > 2 then redis.call('XADD', KEYS[1], '*', unpack(entry)) end
return held
"""

# KEYS: the slugs' keys. ARGV: version, seconds to live, an entry for each key. An entry with a
# higher version stays.
PUT = """
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if not held or tonumber(string.match(held, '^%d+')) <= tonumber(ARGV[1]) then
    redis.call('SET', key, ARGV[i + 2], 'EX', ARGV[2])
  end
end
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a slug leads."""

    link_id: str
    url: str

    @classmethod
    def of_entry(cls, entry: bytes) -> Self | None:
        """None for a tombstone and for a link that has expired."""
        location = location_of(entry)
        return (
            None if location is None else cls(entry.split(b"|", 3)[2].decode(), location.decode())
        )


def location_of(entry: bytes) -> bytes | None:
    """The URL in the entry; None for a tombstone and for a link that has expired."""
    parts = entry.split(b"|", 3)
    return parts[3] if len(parts) == 4 else None  # noqa: PLR2004 -- the parts of a live entry


class NewLink(NamedTuple):
    """What the cache needs of a link. An import makes thousands, too many for ORM objects."""

    id: UUID
    slug: str
    url: str
    expires_at: datetime | None


def make_entry(link: Link | NewLink | None, version: int = READ_VERSION) -> str:
    if link is None:
        return f"{version}|{TOMBSTONE}"
    expires = int(link.expires_at.timestamp() * 1000) if link.expires_at else 0
    return f"{version}|{expires}|{link.id}|{link.url}"


class LinkCache:
    """The entries of slugs. Its methods raise what redis-py raises, and have no timeout."""

    def __init__(self, redis: Redis, *, ttl: int) -> None:
        self._redis = redis
        self._ttl = ttl
        self._follow = redis.register_script(FOLLOW)
        self._put = redis.register_script(PUT)

    async def follow(self, batch: str, clicks: dict[str, int]) -> list[bytes | None]:
        """Look up the slugs of {slug: clicks} and append their clicks to the stream, atomically.

        Returns an entry for each slug. Only clicks of live entries are appended, under the name
        `batch`.
        """
        latest = int((datetime.now(UTC).timestamp() + LATEST_RUN) * 1000)
        answer: list[bytes | None] = await self._follow(
            keys=[STREAM, *(KEY + slug for slug in clicks)],
            args=[latest, batch, *clicks.values()],
        )
        return answer

    async def fill(self, slug: str, link: Link | None) -> None:
        """Write what a reader found in Postgres, unless there is an entry already."""
        await self._redis.set(KEY + slug, make_entry(link), nx=True, ex=self._ttl)

    async def put(self, slug: str, link: Link | None, version: int) -> None:
        """Write what a writer has committed; None writes a tombstone."""
        await self._put(keys=[KEY + slug], args=[version, self._ttl, make_entry(link, version)])

    async def put_all(self, links: Sequence[Link | NewLink], version: int) -> None:
        """`put` for many links. A thousand keep Redis busy for 2 ms."""
        await self._put(
            keys=[KEY + link.slug for link in links],
            args=[version, self._ttl, *(make_entry(link, version) for link in links)],
        )
