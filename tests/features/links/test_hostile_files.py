"""Malicious files: each is refused, in little time and memory."""

import gzip
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.hostility import Answer, assert_refused, attack, message, unharmed
from tests.service import App

IMPORTS = "/api/v1/imports"
LARGEST = 10 * 1024 * 1024  # MAX_UPLOAD_BYTES
MEGABYTES = 24  # a few pieces of a file, and its rows; much less than the file


@pytest.fixture(autouse=True)
def watched(served: App) -> Iterator[None]:
    with unharmed(served), served.growing_at_most(MEGABYTES):
        yield


def upload(served: App, file: bytes, *, media_type: str = "text/csv") -> Answer:
    headers = {**served.authorization, "Content-Type": media_type}
    return attack(served, message("POST", IMPORTS, headers=headers, body=file))


def filled(start: bytes, filling: bytes) -> bytes:
    """A file of the largest size."""
    return start + filling * ((LARGEST - len(start)) // len(filling))


class TestBombs:
    """A file takes little more memory than its size, whatever it holds."""

    @pytest.mark.parametrize(
        "file",
        [
            pytest.param(filled(b"", b","), id="commas"),
            pytest.param(filled(b"", b"\n"), id="line breaks"),
            pytest.param(filled(b"", b'"'), id="quotes"),
            pytest.param(filled(b"", b"\x00"), id="zeros"),
            pytest.param(filled(b"url\n", b"\n"), id="line breaks below a header"),
            pytest.param(filled(b"url\n", b" \n"), id="blank lines"),
            pytest.param(
                filled(b"url\nhttps://example.com/\n", b"\n"), id="one row and line breaks"
            ),
            pytest.param(filled(b"url\n", b"a\n"), id="five million rows"),
            pytest.param(b"url\n" + b"https://example.com/\n" * 100_001, id="one row too many"),
            pytest.param(b"url," * 5000 + b"\n", id="a header of 5,000 columns"),
            pytest.param(gzip.compress(b"url\n" + b"a" * LARGEST), id="gzip"),
            pytest.param("url\nhttps://example.com/\n".encode("utf-16"), id="UTF-16"),
            pytest.param(b"", id="nothing"),
        ],
    )
    def test_what_is_no_list_of_links_is_refused(self, served: App, file: bytes) -> None:
        assert_refused(upload(served, file), 422, "file_invalid")

    @pytest.mark.parametrize(
        "file",
        [
            pytest.param(filled(b"url\n", b","), id="commas"),
            pytest.param(filled(b"url\n", b'"'), id="quotes"),
            pytest.param(filled(b"url\n", b"\r"), id="carriage returns"),
            pytest.param(filled(b"url\nhttps://example.com/", b"a"), id="a giant field"),
            pytest.param(
                b'url,title\nhttps://example.com/,"' + b"a\n" * 90_000, id="an open quote"
            ),
        ],
    )
    def test_rows_that_are_bombs_are_left_to_the_worker(self, served: App, file: bytes) -> None:
        answer = upload(served, file)
        assert answer.status == 202, answer

    def test_a_strangers_file_is_not_read(self, served: App) -> None:
        request = message(
            "POST", IMPORTS, headers=b"Content-Type: text/csv\r\n", body=b"a" * LARGEST
        )
        with served.growing_at_most(4):
            assert_refused(attack(served, request), 401, "token_invalid")

    def test_an_endless_one_in_chunks(self, served: App) -> None:
        headers = {
            **served.authorization,
            "Content-Type": "text/csv",
            "Transfer-Encoding": "chunked",
        }
        chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        request = message("POST", IMPORTS, headers=headers)
        assert_refused(attack(served, request, *[chunk] * 500), 413, "body_too_large")


BOUNDARY = uuid4().hex


def part(content: bytes, head: str = 'name="file"; filename="links.csv"') -> bytes:
    return (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
        + content
        + b"\r\n"
    )


def upload_form(served: App, parts: bytes) -> Answer:
    media_type = f"multipart/form-data; boundary={BOUNDARY}"
    return upload(served, parts + f"--{BOUNDARY}--\r\n".encode(), media_type=media_type)


class TestForms:
    """The parts of a form, their number and their headers are limited."""

    @pytest.mark.parametrize(
        "form",
        [
            pytest.param(part(b"a", 'name="x"') * 100_000, id="fields"),
            pytest.param(part(b"a") * 1000, id="files"),
            pytest.param(part(b"a" * 5_000_000, 'name="file"'), id="a field of 5 MB"),
            pytest.param(part(b"a", "\r\nX-A: " + "a" * 5_000_000), id="a header of 5 MB"),
            pytest.param(part(b"a", 'name="file"\r\n' + "X-A: a\r\n" * 100_000), id="headers"),
            pytest.param(b"--" + b"a" * LARGEST, id="no part at all"),
        ],
    )
    def test_too_much_of_anything_is_refused(self, served: App, form: bytes) -> None:
        answer = upload_form(served, form)
        assert answer.status in {400, 422}, answer
        assert answer.problem()["detail"]
