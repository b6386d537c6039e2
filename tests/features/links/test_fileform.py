"""The file of a multipart form, however the form is cut into pieces on its way."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AppError, BadRequest, ValidationFailed
from app.features.links.fileform import MOST_PARTS, FileForm

BOUNDARY = "edge-of-a-part"
CONTENT_TYPE = f'multipart/form-data; boundary="{BOUNDARY}"'
END = f"--{BOUNDARY}--\r\n".encode()


def part(content: bytes, head: str = 'name="file"; filename="links.csv"') -> bytes:
    disposition = f"Content-Disposition: form-data; {head}\r\nContent-Type: text/csv"
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"


def read(form: bytes, *, size: int = 100, content_type: str = CONTENT_TYPE) -> bytes:
    async def body() -> AsyncIterator[bytes]:
        for begin in range(0, len(form), size):
            yield form[begin : begin + size]

    async def all_of_it() -> bytes:
        return b"".join([data async for data in FileForm(content_type).file(body())])

    return asyncio.run(all_of_it())


class TestFile:
    """It comes out as it was put in; other fields are ignored."""

    @given(st.binary() | st.just(b"a\r\n--edge-of-a-par"), st.integers(1, 200))
    def test_any_bytes(self, content: bytes, size: int) -> None:
        field = part(b"ignored", 'name="note"')
        assert read(field + part(content) + field + END, size=size) == content

    @pytest.mark.parametrize(
        ("form", "error", "said"),
        [
            (part(b"a"), BadRequest, "it ends before its last boundary"),
            (part(b"a") + part(b"b") + END, BadRequest, "more than one file"),
            (part(b"a", 'name="x"') * (MOST_PARTS + 1) + END, BadRequest, "more than 11 parts"),
            (part(b"a", 'name="other"; filename="x"') + END, ValidationFailed, "has no file"),
            (part(b"a", 'name="file"') + END, ValidationFailed, "has no file"),
            (END, ValidationFailed, "has no file"),
            (b"url\nhttps://example.com/\n", BadRequest, "can't be read"),
            (b"", BadRequest, "it ends before its last boundary"),
        ],
    )
    def test_what_is_no_form_with_a_file(
        self, form: bytes, error: type[AppError], said: str
    ) -> None:
        with pytest.raises(error, match=said):
            read(form)

    def test_a_form_without_a_boundary(self) -> None:
        with pytest.raises(BadRequest, match="names no boundary"):
            read(part(b"a") + END, content_type="multipart/form-data")
