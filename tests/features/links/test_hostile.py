"""What people try to shorten that they should not: refused by the name of the input."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.hostility import assert_refused, attack, message, unharmed
from tests.served import Served

LINKS = "/api/v1/links"
MEGABYTES = 16  # of memory that a refusal may cost at its peak; it needs next to none


@pytest.fixture(autouse=True)
def watched(served: Served) -> Iterator[None]:
    with unharmed(served), served.growing_at_most(MEGABYTES):
        yield


def create(served: Served, **body: Any) -> httpx.Response:
    with served.client() as client:
        return client.post(LINKS, json=body)


def assert_field_refused(answer: httpx.Response, field: str) -> None:
    assert answer.status_code == 422, answer.text
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


class TestTargets:
    """A link leads to a web page, openly."""

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "javascript:alert(1)",
                "JavaScript:alert(1)",
                " javascript:alert(1)",
                "\tjavascript:1",
            ),
            *("java\nscript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x"),
            *("file:///etc/passwd", "ftp://example.com/", "//example.com/", "/docs", "example.com"),
            *(
                "http:example.com",
                "http:/example.com",
                "http:\\\\example.com",
                "https://",
                "http://?",
            ),
            *(
                "https://example.com:99999/",
                "http://[::1",
                "http://[fe80::1%25eth0]/",
                "http://a b/",
            ),
        ],
    )
    def test_anything_else_is_refused(self, served: Served, url: str) -> None:
        assert_field_refused(create(served, url=url), "body.url")

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "https://user:secret@example.com/",
                "https://user@example.com/",
                "https://@example.com",
            ),
            *(
                "https://:@example.com/",
                "https://example.com:443@evil.example/",
                "https://a%40b@c.example",
            ),
            *("https://example.com\\@evil.example/", "https://example.com\uff20evil.example/"),
        ],
    )
    def test_credentials_or_what_looks_like_a_host_are_refused(
        self, served: Served, url: str
    ) -> None:
        assert_field_refused(create(served, url=url), "body.url")

    @pytest.mark.parametrize(
        "end",
        [
            "\r\nSet-Cookie: a=b",
            "\r\n\r\n<html>",
            "\n",
            "\x00",
            "\x7f",
            "\x85",
            " ",
            "\t",
            '"',
            "<",
        ],
    )
    def test_nothing_splits_the_answer(self, served: Served, end: str) -> None:
        assert_field_refused(create(served, url=f"https://example.com/{end}"), "body.url")
        assert_field_refused(create(served, url=f"https://example.com/{end}x"), "body.url")

    @pytest.mark.parametrize("url", [r"https://example.com/\ud800", r"https://\udfff.example/"])
    def test_lone_surrogates_are_refused(self, served: Served, url: str) -> None:
        headers = {**served.authorization, "Content-Type": "application/json"}
        body = f'{{"url": "{url}"}}'.encode()
        answer = attack(served, message("POST", LINKS, headers=headers, body=body))
        assert_refused(answer, 422, "validation_failed", "body.url")

    @pytest.mark.parametrize(
        "url", ["https://example.com/" + "a" * 2029, "https://e.com/" + "ä" * 500]
    )
    def test_what_is_too_long_in_its_final_form_is_refused(self, served: Served, url: str) -> None:
        assert_field_refused(create(served, url=url), "body.url")

    @pytest.mark.parametrize(
        ("url", "location"),
        [
            ("https://\u0430pple.com/", "https://xn--pple-43d.com/"),  # a Cyrillic a
            (
                "https://b\u00fccher.example/\u00fc?\u00fc#\u00fc",
                "https://xn--bcher-kva.example/%C3%BC?%C3%BC#%C3%BC",
            ),
            ("https://\uff45xample\u3002com/", "https://example.com/"),  # fullwidth e and full stop
            ("https://example.com/\u202egpj.exe", "https://example.com/%E2%80%AEgpj.exe"),
            ("HTTPS://EXAMPLE.com/%0d%0aX:%20y", "HTTPS://EXAMPLE.com/%0d%0aX:%20y"),
        ],
    )
    def test_an_international_address_shows_where_it_leads(
        self, served: Served, url: str, location: str
    ) -> None:
        answer = create(served, url=url)
        assert (answer.status_code, answer.json()["url"]) == (201, location)
        redirect = attack(served, message("GET", f"/{answer.json()['slug']}"))
        assert (redirect.status, redirect.headers["location"]) == (302, location)


class TestSlugs:
    """A slug is one plain path segment that the service does not use itself."""

    @pytest.mark.parametrize(
        "slug",
        [
            *(
                "api",
                "API",
                "Docs",
                "health",
                "..",
                ".",
                "a/b",
                "a%2Fb",
                "a\\b",
                "a?b",
                "a#b",
                "-ab",
            ),
            *(
                "abc\n",
                "abc\r\nX: y",
                "a\x00b",
                "ab\u0441",
                "\uff11\uff12",
                "a b",
                "",
                "a",
                "a" * 65,
            ),
        ],
    )
    def test_anything_else_is_refused(self, served: Served, slug: str) -> None:
        assert_field_refused(create(served, url="https://example.com/", slug=slug), "body.slug")

    @pytest.mark.parametrize(
        "path", ["/%00", "/a%0ab", "/%ff", "/" + "x" * 60_000, "/a%7cb", "/%2e%2e"]
    )
    def test_a_path_that_can_be_none_is_not_found(self, served: Served, path: str) -> None:
        answer = attack(served, message("GET", path))
        assert_refused(answer, 404, "link_not_found")
        assert len(answer.body) < 1000


class TestFields:
    """Every other input is refused by its name, too."""

    @pytest.mark.parametrize(
        "time",
        [
            *("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2099-01-01T00:00:00"),
            *("1999-12-31T23:59:59Z", "2099-13-01T00:00:00Z", 10**30, -1, "9" * 5000, "now", []),
        ],
    )
    def test_a_time_that_is_none_of_ours(self, served: Served, time: Any) -> None:
        answer = create(served, url="https://example.com/", expires_at=time)
        assert_field_refused(answer, "body.expires_at")

    def test_a_title_with_control_characters(self, served: Served) -> None:
        answer = create(served, url="https://example.com/", title="a\x1b[2Jb")
        assert_field_refused(answer, "body.title")

    def test_a_forged_cursor(self, served: Served) -> None:
        with served.client() as client:
            answer = client.get(LINKS, params={"cursor": "A" * 21 + "B"})
        assert_field_refused(answer, "query.cursor")

    @pytest.mark.parametrize("query", ["since=2000-01-01T00:00:00Z", "bucket=second", "until=0"])
    def test_a_series_without_end(self, served: Served, query: str) -> None:
        slug = create(served, url="https://example.com/").json()["slug"]
        with served.client() as client:
            answer = client.get(f"{LINKS}/{slug}/clicks?{query}")
        assert_field_refused(answer, f"query.{query.partition('=')[0]}")
