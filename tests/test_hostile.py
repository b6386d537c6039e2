"""Hostile requests: each is refused clearly and quickly, and the process survives."""

from collections.abc import Iterator

import pytest

from app.printable import CONTROLS
from tests.hostility import Answer, assert_refused, attack, message, sent, unharmed
from tests.polling import until
from tests.service import App

TOKENS = "/api/v1/tokens"
ALIVE = "/health/live"
MEGABYTES = 16  # of memory that an attack may cost at its peak; a refusal needs next to none


@pytest.fixture(autouse=True)
def watched(served: App) -> Iterator[None]:
    with unharmed(served), served.growing_at_most(MEGABYTES):
        yield


def post(served: App, body: bytes) -> Answer:
    """A body for POST /api/v1/tokens from somebody who may."""
    headers = {**served.authorization, "Content-Type": "application/json"}
    return attack(served, message("POST", TOKENS, headers=headers, body=body))


class TestBodies:
    """A body that is too large, too deep or not JSON is refused before it is processed."""

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"name": "' + b"a" * 10_000_000 + b'"}', id="ten megabytes"),
            pytest.param(b"[" * 1_000_000 + b"]" * 1_000_000, id="a million brackets"),
        ],
    )
    def test_one_that_is_too_large(self, served: App, body: bytes) -> None:
        assert_refused(post(served, body), 413, "body_too_large")

    def test_three_gigabytes_declared_are_not_waited_for(self, served: App) -> None:
        headers = {**served.authorization, "Content-Length": "3000000000"}
        answer = attack(served, message("POST", TOKENS, headers=headers))
        assert_refused(answer, 413, "body_too_large")

    def test_an_endless_body_in_chunks(self, served: App) -> None:
        headers = {**served.authorization, "Transfer-Encoding": "chunked"}
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        request = message("POST", TOKENS, headers=headers)
        assert_refused(attack(served, request, *[chunk] * 500), 413, "body_too_large")

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            pytest.param(b"[" * 30_000 + b"]" * 30_000, 400, id="as many brackets as fit"),
            pytest.param(b'{"name": "\xff\xfe"}', 400, id="invalid UTF-8"),
            pytest.param(b'{"name": ' + b"9" * 60_000 + b"}", 400, id="a number of 60,000 digits"),
            pytest.param(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", 400, id="gzip"),
            *((b"", 422), (b"{]", 422), (b'"name"', 422), (b"null", 422), (b"\x00", 422)),
        ],
    )
    def test_what_is_no_object(self, served: App, body: bytes, status: int) -> None:
        answer = post(served, body)
        if body.startswith(b"[[") and answer.status == 422:
            status = 422  # where Python's parser gets that deep, its result is refused
        assert_refused(answer, status, {400: "bad_request", 422: "validation_failed"}[status])

    @pytest.mark.parametrize(
        "name", [r'"a\u0000b"', r'"\ud800"', r'"\udfff\ud800"', '"\\n"', "1e400", "NaN", "[[]]"]
    )
    def test_a_name_that_nothing_could_store(self, served: App, name: str) -> None:
        body = f'{{"name": {name}, "scopes": ["tokens:write"]}}'.encode()
        assert_refused(post(served, body), 422, "validation_failed", "body.name")

    def test_thousands_of_faults_are_answered_briefly(self, served: App) -> None:
        body = b"{" + b",".join(b'"k%d":0' % number for number in range(5000)) + b"}"
        answer = post(served, body)
        assert_refused(answer, 422, "validation_failed", "body.k0")
        assert len(answer.body) < 10_000


class TestPaths:
    """No path reaches other files, and none adds a header to the answer."""

    @pytest.mark.parametrize(
        "path",
        [
            *("/docs/../../etc/passwd", "/docs/..%2f..%2f..%2fetc%2fpasswd", "/docs/%2e%2e/x"),
            *("/docs/..\\..\\etc\\passwd", "/docs/%00", "/docs/swagger-ui.css%00.png", "/docs/"),
            *("/%00", "/%ff%fe", "//evil.example/..", "/a%0d%0aX-Evil:%201", "/..;/docs", "*"),
        ],
    )
    def test_it_is_not_there(self, served: App, path: str) -> None:
        answer = attack(served, message("GET", path))
        assert answer.problem()["status"] == answer.status == 404
        assert "x-evil" not in answer.headers

    @pytest.mark.parametrize("length", [100_000, 1_000_000])
    def test_an_endless_one_is_cut_short(self, served: App, length: int) -> None:
        assert attack(served, message("GET", "/" + "a" * length)).status == 431


class TestLog:
    """What a stranger sends can neither flush the log nor steer the terminal that shows it."""

    def test_a_long_path_of_escape_sequences_costs_one_short_line(self, served: App) -> None:
        begin = len(served.output())
        path = "/%1b%5d52;c;cm0gLXJm%07%c2%9b2J%e2%80%ae" + "%1b" * 20_000
        assert attack(served, message("GET", path)).status == 404
        until(lambda: "cm0gLXJm" in served.output())
        logged = served.output()[begin:]
        assert len(logged) < 2500
        assert CONTROLS.search(logged.replace("\n", "")) is None


class TestHeaders:
    """Malformed HTTP is refused by the server itself, and the connection ends."""

    @pytest.mark.parametrize(
        "line",
        [
            *(b"X-A: \x00\r\n", b"X-A: a\rX-B: b\r\n", b"X-A : a\r\n", b"X-A: a\r\n folded\r\n"),
            *(b"Content-Length: -1\r\n", b"Content-Length: +5\r\n", b"Content-Length: 5, 5\r\n"),
            *(b"Content-Length: 0x5\r\n", b"Content-Length: 99999999999999999999999\r\n"),
            b"Content-Length: 5\r\nContent-Length: 6\r\n",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n",
        ],
    )
    def test_no_second_request_is_smuggled_past_the_first(self, served: App, line: bytes) -> None:
        request = message("POST", ALIVE, headers=line) + b"0\r\n\r\n" + message("GET", ALIVE)
        with sent(served, request) as connection, connection.makefile("rb") as answers:
            received = answers.read()  # until the server closes the connection
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.count(b"HTTP/1.1 ") == 1

    @pytest.mark.parametrize(
        "first",
        [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"],
    )
    def test_another_protocol(self, served: App, first: bytes) -> None:
        assert attack(served, first).status == 400

    @pytest.mark.parametrize(
        "lines",
        [
            pytest.param(b"X-A: " + b"a" * 1_000_000 + b"\r\n", id="one of a megabyte"),
            pytest.param(b"a:\r\n" * 245_000, id="many of four bytes"),
        ],
    )
    def test_headers_of_a_megabyte_cost_little(self, served: App, lines: bytes) -> None:
        answer = attack(served, message("GET", ALIVE, headers=lines))
        assert_refused(answer, 431, "headers_too_large")
