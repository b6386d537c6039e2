"""Visitors who keep asking while things break, and who remember what they were told.

A client of its own rather than httpx: it knows exactly whether a request was under way when a
connection broke, and it leaves the two cores to the service.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from app.infra.capacity import raise_file_limit

# Shorter than uvicorn's five seconds: no request goes out on a connection that is being closed.
LONGEST_IDLE = 2.0  # seconds
PATIENCE = 15.0  # seconds until a visitor calls a request unanswered


class Answer(NamedTuple):
    status: int
    location: str | None
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.started


class Lost(Exception):
    """The request was sent and never answered: nobody knows whether it was counted."""


class Refused(Exception):
    """There was no connection, so no request either."""


class Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: float

    @property
    def is_usable(self) -> bool:
        return not self.reader.at_eof() and time.monotonic() - self.used < LONGEST_IDLE


@dataclass
class Visitors:
    """They ask one app, over connections that are kept and opened again when closed."""

    port: int
    redirected: Counter[str] = field(default_factory=Counter)  # answered with 302, by path
    lost: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    others: Counter[int] = field(default_factory=Counter)  # any other answer, by status
    failed: Counter[str] = field(default_factory=Counter)  # answered with 5xx, by path
    slowest: float = 0.0
    _idle: list[Connection] = field(default_factory=list)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        raise_file_limit()  # those that are being closed still count
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()
        await asyncio.gather(
            *(writer.wait_closed() for writer in self._writers), return_exceptions=True
        )

    async def visit(self, path: str) -> None:
        """Ask for it and remember how that went."""
        try:
            answer = await self.follow(path)
        except Refused:
            self.refused += 1
        except Lost:
            self.lost[path] += 1
        else:
            self.slowest = max(self.slowest, answer.seconds)
            if answer.status == 302:
                self.redirected[path] += 1
            else:
                self.others[answer.status] += 1
                self.failed[path] += answer.status >= 500

    def unknown(self, path: str) -> int:
        """How many visits nobody can tell of whether they were counted.

        A 503 may stand for a commit whose confirmation was lost with Postgres.
        """
        return self.lost[path] + self.failed[path]

    async def follow(self, path: str) -> Answer:
        """One GET. Raises `Refused` and `Lost`."""
        started = time.monotonic()
        connection = await self._connect()
        try:
            async with asyncio.timeout(PATIENCE):
                connection.writer.write(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("ascii")
                lines = head.split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:-2])
                await connection.reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError, TimeoutError) as error:
            connection.writer.close()
            raise Lost(type(error).__name__) from error
        ended = time.monotonic()
        self._idle.append(connection._replace(used=ended))
        location = next(
            (line[10:] for line in lines if line.lower().startswith("location: ")), None
        )
        return Answer(int(lines[0].split()[1]), location, started, ended)

    async def stroll(self, choose: Callable[[int], str], *, rate: float, seconds: float) -> None:
        """Visit at a steady rate, each visit on its own, and return when all are answered.

        `choose` names the path of each visit by its number. A visit that is due is never left out.
        """
        begin = time.monotonic()
        async with asyncio.TaskGroup() as visits:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(begin + number / rate - time.monotonic())
                visits.create_task(self.visit(choose(number)))

    async def _connect(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.writer.close()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            raise Refused from error
        self._writers.append(writer)
        return Connection(reader, writer, time.monotonic())
