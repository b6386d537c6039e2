"""The file of a multipart form, as it arrives. Starlette would store all of it first, in /tmp."""

from collections.abc import AsyncIterator

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import BadRequest, ValidationFailed

FIELD = b"file"
MOST_PARTS = 11  # the file, and ten fields that are ignored
UNREADABLE = "The form can't be read: "


class FileForm:
    """Takes the file out of a form whose Content-Type is this one."""

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise BadRequest(f"{UNREADABLE}its Content-Type names no boundary.")
        # The parser limits the headers of a part in number and size.
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._read_name,
                "on_header_value": self._read_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._read_data,
                "on_end": self._end,
            },
        )
        self._name = self._value = self._disposition = b""
        self._parts = 0
        self._in_file = self._found = self._ended = False
        self._data: list[bytes] = []

    async def file(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The file's bytes. Raises `BadRequest`, and `ValidationFailed` without a file."""
        async for chunk in body:
            try:
                self._parser.write(chunk)
            except MultipartParseError as error:
                raise BadRequest(f"{UNREADABLE}{error}") from error
            for data in self._data:
                yield data
            self._data.clear()
        if not self._ended:
            raise BadRequest(f"{UNREADABLE}it ends before its last boundary.")
        if not self._found:
            raise ValidationFailed(
                "The form has no file.",
                errors=[{"field": "body.file", "detail": "send the CSV as a file in this field"}],
            )

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise BadRequest(f"{UNREADABLE}it has more than {MOST_PARTS} parts.")
        self._in_file = False
        self._name = self._value = self._disposition = b""

    def _read_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _end_headers(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._in_file = options.get(b"name") == FIELD and b"filename" in options
        if self._in_file and self._found:
            raise BadRequest(f"{UNREADABLE}it has more than one file.")
        self._found = self._found or self._in_file

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._data.append(data[start:end])

    def _end(self) -> None:
        self._ended = True
