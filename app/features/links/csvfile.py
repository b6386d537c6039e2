"""Reading the CSV of an import. No database here; `schemas` checks the values.

Each line is one row: a value can't contain a line break. So a quote that is never closed makes one
row invalid, and not the rest of the file.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from app.features.links.errors import FileInvalid

COLUMNS = ("url", "slug", "title", "expires_at")
MOST_ROWS = 100_000
MOST_LINES = 2 * MOST_ROWS  # with empty ones, which cost time too
LONGEST_LINE = 16_384  # bytes; the longest valid row has about 3,000
HEADER_ROW = 1


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A data row and its line in the file: its values that are not empty, or its fault."""

    number: int
    values: dict[str, str]
    fault: str | None = None


def count_rows(source: bytes) -> int:
    """How many data rows the file has. Raises `FileInvalid` if the file as a whole is unusable."""
    _read_header(source)
    if source.count(b"\n") > MOST_LINES:
        raise FileInvalid(f"The file has more than {MOST_LINES} lines: split it.")
    count = 0
    for _ in _data_lines(source):
        count += 1
        if count > MOST_ROWS:
            raise FileInvalid(f"The file has more than {MOST_ROWS} rows: split it.")
    if count == 0:
        raise FileInvalid("The file has no rows below its header.")
    return count


def read_rows(source: bytes, *, start: int) -> Iterator[CsvRow]:
    """The data rows from line `start` on. Empty lines are skipped."""
    header = _read_header(source)
    for number, line in _data_lines(source):
        if number >= start:
            yield _read_row(number, line, header)


def _data_lines(source: bytes) -> Iterator[tuple[int, bytes]]:
    lines = _lines(source)
    next(lines, None)
    return ((number, line) for number, line in lines if line.strip())


def _lines(source: bytes) -> Iterator[tuple[int, bytes]]:
    # splitlines() would make millions of objects out of a file with nothing but line breaks.
    number, begin = HEADER_ROW, 0
    while begin < len(source):
        end = source.find(b"\n", begin)
        end = len(source) if end < 0 else end
        yield number, source[begin:end].rstrip(b"\r")
        number, begin = number + 1, end + 1


def _read_header(source: bytes) -> list[str]:
    _, line = next(_lines(source.removeprefix(b"\xef\xbb\xbf")), (HEADER_ROW, b""))
    columns, fault = _split(line)
    names = [name.strip().lower() for name in columns]
    if fault:
        raise FileInvalid(f"The header {fault}.")
    unknown = [name[:40] for name in names if name not in COLUMNS]
    if unknown or "url" not in names or len(set(names)) < len(names):
        raise FileInvalid(
            f"The header must name url and may name {', '.join(COLUMNS[1:])}, each once; "
            f"it is {', '.join(name[:40] for name in names[:10]) or 'empty'}."
        )
    return names


def _read_row(number: int, line: bytes, header: list[str]) -> CsvRow:
    fields, fault = _split(line)
    if fault is None and len(fields) != len(header):
        fault = f"has {len(fields)} fields where the header has {len(header)}"
    if fault is not None:
        return CsvRow(number, {}, f"the row {fault}")
    pairs = zip(header, fields, strict=True)
    return CsvRow(number, {name: value.strip() for name, value in pairs if value.strip()})


def _split(line: bytes) -> tuple[list[str], str | None]:
    """The line's fields, or no fields and its fault."""
    if len(line) > LONGEST_LINE:
        return [], f"is longer than {LONGEST_LINE} bytes"
    try:
        return next(csv.reader([line.decode()], strict=True), []), None
    except UnicodeDecodeError:
        return [], "is not UTF-8"
    except csv.Error as error:
        return [], f"is not CSV: {error}"
