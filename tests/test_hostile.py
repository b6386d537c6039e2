"""Hostile requests: each is refused clearly and quickly, and the process survives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostility import QUICKLY, Answer, assert_refused, attack, message, unharmed
from tests.served import Served, listening

TOKENS = "/api/v1/tokens"
ALIVE = "/health/live"
MEGABYTES = 16  # of memory that an attack may cost at its peak; a refusal needs next to none


@pytest.fixture(autouse=True)
def watched(served: Served) -> Iterator[None]:
    with unharmed(served), served.growing_at_most(MEGABYTES):
        yield


def post(served: Served, body: bytes) -> Answer:
    """A body for POST /api/v1/tokens from somebody who may."""
    headers = {**served.authorization, "Content-Type": "application/json"}
    return attack(served, message("POST", TOKENS, headers=headers, body=body))


class TestBodies:
    """A body that is too large, too deep or not JSON is refused before it is processed."""

    def test_ten_megabytes(self, served: Served) -> None:
        body = b'{"name": "' + b"a" * 10_000_000 + b'"}'
        assert_refused(post(served, body), 413, "body_too_large")

    def test_three_gigabytes_declared_are_not_waited_for(self, served: Served) -> None:
        headers = {**served.authorization, "Content-Length": "3000000000"}
        answer = attack(served, message("POST", TOKENS, headers=headers))
        assert_refused(answer, 413, "body_too_large")

    def test_an_endless_body_in_chunks(self, served: Served) -> None:
        headers = {**served.authorization, "Transfer-Encoding": "chunked"}
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        parts = (message("POST", TOKENS, headers=headers), *[chunk] * 500)
        assert_refused(attack(served, parts), 413, "body_too_large")

    def test_a_million_brackets(self, served: Served) -> None:
        body = b"[" * 1_000_000 + b"]" * 1_000_000
        assert_refused(post(served, body), 413, "body_too_large")

    @pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
    def test_as_many_brackets_as_fit(self, served: Served, brackets: tuple[bytes, bytes]) -> None:
        opening, closing = brackets
        depth = 60_000 // len(opening + closing)
        body = opening * depth + b"0" + closing * depth
        answer = post(served, body)
        if answer.status == 400:
            assert_refused(answer, 400, "bad_request")
        else:  # where Python's parser gets that deep, it is what came out that is refused
            assert_refused(answer, 422, "validation_failed")

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"name": "\xff\xfe"}', id="invalid UTF-8"),
            pytest.param(b'{"name": ' + b"9" * 60_000 + b"}", id="a number of 60,000 digits"),
            pytest.param(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", id="gzip"),
        ],
    )
    def test_what_no_parser_takes(self, served: Served, body: bytes) -> None:
        assert_refused(post(served, body), 400, "bad_request")

    @pytest.mark.parametrize("body", [b"", b"{", b"{]", b'"name"', b"null", b"\x00"])
    def test_what_is_no_object(self, served: Served, body: bytes) -> None:
        assert_refused(post(served, body), 422, "validation_failed", "body")

    @pytest.mark.parametrize(
        "name", [r'"a\u0000b"', r'"\ud800"', r'"\udfff\ud800"', '"\\n"', "1e400", "NaN", "[[]]"]
    )
    def test_a_name_that_nothing_could_store(self, served: Served, name: str) -> None:
        body = f'{{"name": {name}, "scopes": ["tokens:write"]}}'.encode()
        assert_refused(post(served, body), 422, "validation_failed", "body.name")

    def test_thousands_of_faults_are_answered_briefly(self, served: Served) -> None:
        body = b"{" + b",".join(b'"k%d":0' % number for number in range(5000)) + b"}"
        answer = post(served, body)
        assert_refused(answer, 422, "validation_failed", "body.k0")
        assert len(answer.body) < 10_000


class TestTokens:
    """A token must be in the Authorization header, to the letter."""

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"Bearer",
            b"Bearer  ",
            b"Basic %s",
            b"%s",
            b"Bearer %s0",
            b"Bearer %s,",
            b"\xff\xe9",
            b"Bearer " + b"a" * 60_000,
        ],
    )
    def test_another_header(self, served: Served, value: bytes) -> None:
        token = served.token.encode()
        line = b"Authorization: " + (value % token if b"%s" in value else value) + b"\r\n"
        answer = attack(served, message("GET", TOKENS, headers=line))
        assert_refused(answer, 401, "token_invalid")


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
    def test_it_is_not_there(self, served: Served, path: str) -> None:
        answer = attack(served, message("GET", path))
        assert answer.problem()["status"] == answer.status == 404
        assert "x-evil" not in answer.headers

    @pytest.mark.parametrize("length", [100_000, 1_000_000])
    def test_an_endless_one_is_cut_short(self, served: Served, length: int) -> None:
        assert attack(served, message("GET", "/" + "a" * length)).status == 400


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
    def test_no_second_request_is_smuggled_past_the_first(
        self, served: Served, line: bytes
    ) -> None:
        smuggled = message("GET", ALIVE)
        answer = attack(
            served, message("POST", ALIVE, headers=line) + b"0\r\n\r\n" + smuggled, listen=0.3
        )
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert answer.after == b""

    @pytest.mark.parametrize(
        "first",
        [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"],
    )
    def test_another_protocol(self, served: Served, first: bytes) -> None:
        assert attack(served, first).status == 400

    def test_a_header_of_a_megabyte_costs_little(self, served: Served) -> None:
        """Uvicorn bounds no header: in production the proxy does, before it comes here."""
        answer = attack(served, message("GET", ALIVE, headers={"X-A": "a" * 1_000_000}))
        assert answer.status == 200
        assert answer.seconds < QUICKLY


class TestForwardedFor:
    """A client that is no trusted proxy can't choose the address that rate limits count."""

    def test_it_does_not_evade_the_limit(self, served: Served, tmp_path: Path) -> None:
        environment = {**served.environment, "RATE_LIMIT_LOGIN": "3/hour"}
        with (
            listening(tmp_path, environment, served.token) as limited,
            limited.client(token="") as client,
        ):
            headers = [
                {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"}
                for number in range(6)
            ]
            answers = [client.get(TOKENS, headers=forged) for forged in headers]
            assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 3
            assert answers[-1].json()["code"] == "rate_limited"
            assert "203.0.113" not in limited.logged()
