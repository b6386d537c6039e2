"""Reading the CSV of an import: its rows, and the faults of rows."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.features.links import csvfile
from app.features.links.csvfile import (
    COLUMNS,
    LONGEST_ROW,
    MOST_LINES,
    MOST_LINES_A_ROW,
    CsvReader,
    CsvRow,
)
from app.features.links.errors import FileInvalid

HEADER = b"url,slug,title,expires_at\n"


def count_rows(source: bytes, *, size: int = 100_000) -> int:
    """As an upload of pieces of this size counts them."""
    reader = CsvReader()
    for piece in pieces(source, size):
        reader.count(piece)
    reader.count(b"", last=True)
    return reader.total


def rows(source: bytes, *, size: int = 100_000) -> list[CsvRow]:
    """As the worker reads them."""
    reader = CsvReader()
    found = [row for piece in pieces(source, size) for row in reader.rows(piece)]
    return [*found, *reader.rows(b"", last=True)]


def pieces(source: bytes, size: int) -> list[bytes]:
    return [source[begin : begin + size] for begin in range(0, len(source), size)]


def fault_of(line: bytes) -> str | None:
    (row,) = rows(HEADER + line)
    return row.fault


# So short that no row is too long.
characters = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\r\n",')
cells = st.text(characters, max_size=20)


class TestAnything:
    """Any bytes are either rows, or a file that can't be imported."""

    @given(st.binary() | st.binary().map(lambda data: HEADER + data))
    def test_reading_never_fails_otherwise(self, source: bytes) -> None:
        try:
            total = count_rows(source)
        except FileInvalid:
            return
        found = rows(source)
        assert len(found) == total
        numbers = [row.number for row in found]
        assert numbers == sorted(set(numbers))
        assert min(numbers) >= 2
        for row in found:
            assert row.fault is None or not row.values
            assert set(row.values) <= set(COLUMNS)

    @given(st.lists(st.tuples(cells, cells, cells, cells), min_size=1))
    def test_what_pythons_csv_writes_is_read(self, table: list[tuple[str, str, str, str]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows([COLUMNS, *table])
        given_rows = [dict(zip(COLUMNS, map(str.strip, row), strict=True)) for row in table]
        expected = [{name: value for name, value in row.items() if value} for row in given_rows]
        assert [row.values for row in rows(text.getvalue().encode())] == expected

    @given(
        st.lists(
            st.binary(max_size=60)
            | st.sampled_from([b"\n", b'"', b" " * (LONGEST_ROW + 9), b"a," * LONGEST_ROW])
        ).map(lambda parts: HEADER + b"https://example.com/,,,\n" + b"".join(parts)),
        st.sampled_from([1, 7, 1000, LONGEST_ROW]),
    )
    @settings(max_examples=25)  # a file of 100 kB has as many pieces
    def test_where_it_is_cut_into_pieces_makes_no_difference(
        self, source: bytes, size: int
    ) -> None:
        if size < 1000:
            source = source[:3000]
        whole = rows(source, size=len(source))
        assert rows(source, size=size) == whole
        assert count_rows(source, size=size) == len(whole)


class TestHeader:
    """The header names url, and may name the other columns, in any order and case."""

    @pytest.mark.parametrize(
        "header",
        [
            *(b"url\n", b"url,slug,title,expires_at\r\n", b"expires_at,URL\n", b' Title ,"url"\n'),
            b"\xef\xbb\xbfurl,slug\n",
        ],
    )
    def test_these_are_headers(self, header: bytes) -> None:
        commas = b"," * header.count(b",")
        assert count_rows(header + b"x" + commas) == 1

    @pytest.mark.parametrize(
        "header",
        [
            *(b"", b"\n", b"slug,title\n", b"url,url\n", b"url,clicks\n", b"url;slug\n", b"url,\n"),
            *(b"https://example.com/\n", b"\xff\xfeu\x00r\x00l\x00\n", b'"url\n', b"url\rslug\n"),
            b"url," + b"x" * LONGEST_ROW + b"\n",
        ],
    )
    def test_these_are_none(self, header: bytes) -> None:
        with pytest.raises(FileInvalid, match=r"^The header .*\.$"):
            count_rows(header + b"https://example.com/\n")


class TestRows:
    """A row is known by the number of its line. A faulty row does not affect the others."""

    def test_numbers_are_those_of_a_spreadsheet(self) -> None:
        source = b'title,url\n ,a\n\n   \r\n" A, B ",b\r\n,"c\n,d'
        assert [(row.number, row.values) for row in rows(source)] == [
            (2, {"url": "a"}),
            (5, {"title": "A, B", "url": "b"}),
            (6, {}),  # a quote that is never closed
            (7, {"url": "d"}),
        ]
        assert count_rows(source) == 4

    @pytest.mark.parametrize(
        ("line", "fault"),
        [
            (b"a,b,c\n", "the row has 3 fields where the header has 4"),
            (b"a,b,c,d,e\n", "the row has 5 fields where the header has 4"),
            (b"\xff,,,\n", "the row is not UTF-8"),
            (b'"a,,,\n', "the row has a quote that is not closed within 50 lines"),
            (b'"a"b,,,\n', "the row is not CSV: "),
            (b"a\rb,,,\n", "the row is not CSV: "),
            (b"x" * LONGEST_ROW + b",,,\n", f"the row is longer than {LONGEST_ROW} bytes"),
        ],
    )
    def test_what_is_wrong_is_said(self, line: bytes, fault: str) -> None:
        assert (fault_of(line) or "").startswith(fault)


def with_title(number: int, title: str) -> bytes:
    return f'https://example.com/{number},,"{title}",\n'.encode()


class TestLineBreaks:
    """A quoted value may contain line breaks. A quote that is wrong costs its own line only."""

    def test_each_record_is_one_row(self) -> None:
        """Spreadsheets export such files. Each became two or three errors before."""
        source = HEADER + b"".join(with_title(number, "dock\r\n") for number in range(3000))
        assert count_rows(source) == 3000
        found = rows(source)
        assert [row.number for row in found] == [2 + 2 * number for number in range(3000)]
        assert {row.values["title"] for row in found} == {"dock"}

    def test_a_row_that_is_wrong_is_one_fault_at_its_first_line(self) -> None:
        source = HEADER + b'a,,"1\n2\n3",,too many\nb,,"\xff\n",\nc,,"4\n\n5",\n'
        assert [(row.number, row.fault, row.values.get("title")) for row in rows(source)] == [
            (2, "the row has 5 fields where the header has 4", None),
            (5, "the row is not UTF-8", None),
            (7, None, "4\n\n5"),
        ]

    @pytest.mark.parametrize("after", [b"b,,,\n" * 2000, with_title(1, "quoted") * 2000, b""])
    def test_an_unclosed_quote_costs_its_line(self, after: bytes) -> None:
        source = HEADER + b'a,,"never closed,\n' + after
        bad, *good = rows(source)
        assert (bad.number, bad.values) == (2, {})
        assert "quote" in str(bad.fault) or "expected after" in str(bad.fault)
        assert [row.fault for row in good] == [None] * after.count(b"\n")
        assert count_rows(source) == 1 + len(good)

    @pytest.mark.parametrize("lines", [MOST_LINES_A_ROW, MOST_LINES_A_ROW + 1])
    def test_a_row_has_a_limited_number_of_lines(self, lines: int) -> None:
        first, *others = rows(HEADER + with_title(1, "\n" * (lines - 1)))
        assert (first.fault is None) is (lines == MOST_LINES_A_ROW)
        assert bool(others) is (first.fault is not None)

    def test_thousands_of_unclosed_quotes_are_read_in_time(self) -> None:
        """Each is followed to the end of its bound, not of the file."""
        source = HEADER + b'"a\n' * (MOST_LINES - 1)
        assert MOST_LINES * MOST_LINES_A_ROW <= 10_000_000
        with pytest.raises(FileInvalid, match="more than 100000 rows"):
            count_rows(source)


class TestSize:
    """A file without rows, or with too many, is refused."""

    @pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n  \n\n"])
    def test_one_without_rows_is_none(self, rest: bytes) -> None:
        with pytest.raises(FileInvalid, match="no rows"):
            count_rows(HEADER + rest)

    def test_the_most_rows_are_taken_and_one_more_is_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert csvfile.MOST_ROWS == 100_000
        monkeypatch.setattr(csvfile, "MOST_ROWS", 1000)
        most = HEADER + b"a,,,\n" * 1000
        assert count_rows(most) == 1000
        with pytest.raises(FileInvalid, match="more than 1000 rows"):
            count_rows(most + b"a,,,")
        with pytest.raises(FileInvalid, match=f"more than {MOST_LINES} lines"):
            count_rows(HEADER + b"\n" * MOST_LINES + b"a,,,\n")
        with pytest.raises(FileInvalid, match=f"more than {MOST_LINES} lines"):
            count_rows(HEADER + b"\n" * MOST_LINES + b"a,,,\n", size=999)
