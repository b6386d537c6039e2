"""Reading the CSV of an import. No database here; `schemas` checks the values.

A row is a record of RFC 4180: a quoted value may contain line breaks. A row is known by the line
that it begins in. If its quotes are wrong, such as one that is never closed, only this line is
invalid, and reading goes on at the next one.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from app.features.links.errors import FileInvalid

COLUMNS = ("url", "slug", "title", "expires_at")
MOST_ROWS = 100_000
MOST_LINES = 2 * MOST_ROWS  # with empty ones, which cost time too
LONGEST_ROW = 16_384  # bytes; the longest valid one has about 3,000
# Lines that a row may have. They are read again for each line whose quote is not closed.
MOST_LINES_A_ROW = 50
HEADER_ROW = 1
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A data row and the line that it begins in: its values that are not empty, or its fault."""

    number: int
    values: dict[str, str]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    """The fields of a record, or its fault; where it ends, and its number of lines."""

    fields: list[str]
    fault: str | None
    end: int
    lines: int = 1


class CsvReader:
    """Reads a file that comes in pieces. It holds a piece and one row, not the file."""

    def __init__(self) -> None:
        self._rest = b""  # the begin of the row that the last piece did not end
        self._number = HEADER_ROW  # of the line that it begins in
        self._lines = 0
        self._header: list[str] | None = None
        self._in_long_line = False
        self.total = 0

    def rows(self, piece: bytes, *, last: bool = False) -> Iterator[CsvRow]:
        """The rows that end in this piece, which may be the last. Empty lines are skipped.

        Read them all before the next piece. Raises `FileInvalid`.
        """
        for number, record in self._records(piece, last=last):
            yield _read_row(number, record, self._header or [])

    def count(self, piece: bytes, *, last: bool = False) -> None:
        """Add their number to `total`. Raises `FileInvalid` if the file as a whole is unusable."""
        self.total += sum(1 for _ in self._records(piece, last=last))
        if self.total > MOST_ROWS:
            raise FileInvalid(f"The file has more than {MOST_ROWS} rows: split it.")
        if last and self.total == 0:
            raise FileInvalid("The file has no rows below its header.")

    def _records(self, piece: bytes, *, last: bool) -> Iterator[tuple[int, _Record]]:
        self._lines += piece.count(b"\n")
        if self._lines > MOST_LINES:
            raise FileInvalid(f"The file has more than {MOST_LINES} lines: split it.")
        source = self._rest + piece
        begin = self._begin_below_header(source, last=last) if self._header is None else 0
        if self._header is None:
            self._rest = source
            return
        # Nothing of a row lies beyond the longest one, so what is there decides about it.
        while begin < len(source) and (last or len(source) - begin > LONGEST_ROW):
            end = _end_of_line(source, begin)
            if self._in_long_line:
                self._in_long_line, begin = _is_open(source, end), end
            elif end - begin <= LONGEST_ROW and not source[begin:end].strip():
                self._number, begin = self._number + 1, end
            else:
                number, record = self._number, _read_record(source, begin)
                self._number, begin = number + record.lines, record.end
                self._in_long_line = _is_open(source, begin)
                yield number, record
        self._rest = source[begin:]

    def _begin_below_header(self, source: bytes, *, last: bool) -> int:
        """Read the header, if it is there. Where the first row begins."""
        end = _end_of_line(source, 0)
        if not last and _is_open(source, end) and end <= LONGEST_ROW + len(BOM):
            return 0
        self._header = _read_header(source)
        self._number += 1
        return end


def _is_open(source: bytes, end: int) -> bool:
    """Whether the line that ends here goes on in the next piece, if there is one."""
    return end == len(source) and not source.endswith(b"\n")


def _end_of_line(source: bytes, begin: int) -> int:
    """Where the next line begins."""
    return source.find(b"\n", begin) + 1 or len(source)


def _read_record(source: bytes, begin: int) -> _Record:
    end = first_end = _end_of_line(source, begin)
    lines = 0

    def feed() -> Iterator[str]:
        """The lines that csv asks for: more than one only if a quote is open."""
        nonlocal end, lines
        start = begin
        while start < len(source) and lines < MOST_LINES_A_ROW:
            end, lines = _end_of_line(source, start), lines + 1
            if end - begin > LONGEST_ROW:
                return
            # Latin-1 keeps each byte, so text that is not UTF-8 does not hide where a row ends.
            yield source[start:end].decode("latin-1")
            start = end

    if first_end - begin > LONGEST_ROW:
        return _Record([], f"is longer than {LONGEST_ROW} bytes", first_end)
    try:
        fields = next(csv.reader(feed(), strict=True), [])
    except csv.Error as error:
        return _Record([], _explain(error), first_end)
    try:
        return _Record([field.encode("latin-1").decode() for field in fields], None, end, lines)
    except UnicodeDecodeError:
        return _Record([], "is not UTF-8", end, lines)


def _explain(error: csv.Error) -> str:
    if str(error) == "unexpected end of data":
        limit = f"{MOST_LINES_A_ROW} lines and {LONGEST_ROW} bytes"
        return f"has a quote that is not closed within {limit}"
    return f"is not CSV: {error}"


def _read_header(source: bytes) -> list[str]:
    line = source[: _end_of_line(source, 0)]
    header = _read_record(line.removeprefix(BOM), 0)
    names = [name.strip().lower() for name in header.fields]
    if header.fault:
        raise FileInvalid(f"The header {header.fault}.")
    unknown = [name[:40] for name in names if name not in COLUMNS]
    if unknown or "url" not in names or len(set(names)) < len(names):
        raise FileInvalid(
            f"The header must name url and may name {', '.join(COLUMNS[1:])}, each once; "
            f"it is {', '.join(name[:40] for name in names[:10]) or 'empty'}."
        )
    return names


def _read_row(number: int, record: _Record, header: list[str]) -> CsvRow:
    fault = record.fault
    if fault is None and len(record.fields) != len(header):
        fault = f"has {len(record.fields)} fields where the header has {len(header)}"
    if fault is not None:
        return CsvRow(number, {}, f"the row {fault}")
    pairs = zip(header, record.fields, strict=True)
    return CsvRow(number, {name: value.strip() for name, value in pairs if value.strip()})
