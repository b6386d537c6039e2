"""Keyset pages: a cursor names the last row seen, so pages neither repeat nor skip rows."""

import base64
import binascii
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from app.errors import ValidationFailed

MOST = 100  # rows a page; more would let one request hold a connection for long

LimitDep = Annotated[int, Query(ge=1, le=MOST, description="How many rows at most.")]


def encode_cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


async def decode_cursor(
    cursor: Annotated[
        str | None, Query(description="Must be `next_cursor` of the page before.")
    ] = None,
) -> UUID | None:
    """The id that the cursor names. Raises `ValidationFailed` for anything we did not write."""
    if cursor is None:
        return None
    try:
        decoded = UUID(bytes=base64.b64decode(f"{cursor}==", altchars=b"-_", validate=True))
        if encode_cursor(decoded) == cursor:
            return decoded
    except (ValueError, binascii.Error):
        pass  # the answer is the same as for a cursor that decodes to something else
    raise ValidationFailed(
        "The cursor is malformed.",
        errors=[{"field": "query.cursor", "detail": "use next_cursor of a page, unchanged"}],
    )


CursorDep = Annotated[UUID | None, Depends(decode_cursor)]
