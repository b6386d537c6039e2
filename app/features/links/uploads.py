"""The upload of an import: a form's field `file`, or plain CSV.

It goes to Postgres a piece at a time, while it arrives. So neither a process nor its /tmp, which is
memory too, ever holds a file, and no connection is held while a client is slow.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.errors import AppError, BodyTooLarge, UnsupportedMediaType
from app.features.links import lifecycle
from app.features.links.csvfile import CsvReader
from app.features.links.fileform import FileForm
from app.features.links.lifecycle import PIECE
from app.features.links.places import Places
from app.infra.db import Sessions, transaction
from app.infra.http.answers import Answered
from app.infra.lifespan import Resources

_RULE = "Must be UTF-8, with a header line that names url, and with rows below it."

UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": _RULE}
                },
            }
        },
        "text/csv": {
            "schema": {"type": "string", "description": _RULE},
            "example": "url,slug,title,expires_at\nhttps://example.com/,example,An example,\n",
        },
    },
}


class Received(NamedTuple):
    """A file whose pieces are all stored."""

    import_id: UUID
    rows: int
    digest: bytes


@asynccontextmanager
async def received(
    request: Request, resources: Resources, uploads: Places, *, created_by: UUID
) -> AsyncIterator[Received]:
    """Store the file of the request. The block calls `lifecycle.end_upload`.

    Raises `FileInvalid`, `BodyTooLarge`, `TooManyImports` and other errors of the client. Then
    nothing is stored. If Postgres fails, or this process, the purge deletes what was.
    """
    body = request.stream()
    try:
        file = _file_in(body, request.headers.get("content-type", ""))
        pieces = _pieces(file, most=resources.settings.max_upload_bytes)
        with uploads.taken(created_by):
            async with _stored(pieces, resources.sessions, created_by) as stored:
                yield stored
    except AppError:
        async for _ in body:
            pass  # most clients read an answer only when they have sent the whole body
        raise


@asynccontextmanager
async def _stored(
    pieces: AsyncIterator[bytes], sessions: Sessions, created_by: UUID
) -> AsyncIterator[Received]:
    async with transaction(sessions) as session:
        import_id = await lifecycle.begin_upload(session, created_by=created_by)
    try:
        yield await _store(pieces, sessions, import_id)
    except (AppError, HTTPException, ClientDisconnect, Answered):
        async with transaction(sessions) as session:
            await lifecycle.discard_upload(session, import_id=import_id)
        raise


async def _store(pieces: AsyncIterator[bytes], sessions: Sessions, import_id: UUID) -> Received:
    reader, digest = CsvReader(), hashlib.sha256()
    number = 0
    async for piece in pieces:
        await asyncio.to_thread(reader.count, piece)
        digest.update(piece)
        async with transaction(sessions) as session:
            await lifecycle.add_piece(session, import_id=import_id, number=number, content=piece)
        number += 1
    await asyncio.to_thread(reader.count, b"", last=True)
    return Received(import_id, reader.total, digest.digest())


async def _pieces(file: AsyncIterator[bytes], *, most: int) -> AsyncIterator[bytes]:
    """The file in pieces of one size. Raises `BodyTooLarge`."""
    piece, size = bytearray(), 0
    async for chunk in file:
        size += len(chunk)
        if size > most:
            raise BodyTooLarge(f"The file has more than {most} bytes: split it.")
        piece += chunk
        while len(piece) >= PIECE:
            yield bytes(piece[:PIECE])
            del piece[:PIECE]
    if piece:
        yield bytes(piece)


def _file_in(body: AsyncIterator[bytes], content_type: str) -> AsyncIterator[bytes]:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "text/csv":
        return body
    if media_type == "multipart/form-data":
        return FileForm(content_type).file(body)
    raise UnsupportedMediaType("Send text/csv, or multipart/form-data with the field file.")
