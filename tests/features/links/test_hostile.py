"""Malicious links over HTTP: each is refused, and the answer names the input."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.hostility import assert_refused, attack, message, unharmed
from tests.service import App

LINKS = "/api/v1/links"
MEGABYTES = 16  # of memory that a refusal may cost at its peak; it needs next to none


@pytest.fixture(autouse=True)
def watched(served: App) -> Iterator[None]:
    with unharmed(served), served.growing_at_most(MEGABYTES):
        yield


def create(served: App, **body: Any) -> httpx.Response:
    with served.client() as client:
        return client.post(LINKS, json=body)


def assert_field_refused(answer: httpx.Response, field: str) -> None:
    assert answer.status_code == 422, answer.text
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


class TestFields:
    """An input that can't be stored is refused, and the answer names it."""

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(("url", "JavaScript:alert(1)"), ("url", "data:text/html,<script>alert(1)</script>")),
            *(("url", "http:\\\\example.com"), ("url", "http://[fe80::1%25eth0]/")),
            *(("url", "https://example.com:443@evil.example/"), ("url", "https://a%40b@c.example")),
            *(("url", "https://example.com/\r\n\r\n<html>"), ("url", "https://example.com/\x85x")),
            *(
                ("url", "https://example.com\uff20evil.example/"),
                ("url", "https://e.com/" + "ä" * 500),
            ),
            *(("slug", "API"), ("slug", "a%2Fb"), ("slug", "abc\r\nX: y"), ("slug", "ab\u0441")),
            *(("slug", "\uff11\uff12"), ("slug", "a" * 65), ("title", "a\x1b[2Jb")),
            *(("expires_at", "9999-12-31T23:59:59-23:59"), ("expires_at", 10**30)),
            *(("expires_at", "9" * 5000), ("expires_at", []), ("expires_at", "2001-01-01T00:00Z")),
            *(("clicks", 3), ("created_by", None)),
        ],
    )
    def test_it_is_refused(self, served: App, field: str, value: Any) -> None:
        answer = create(served, **{"url": "https://example.com/", field: value})
        assert_field_refused(answer, f"body.{field}")

    @pytest.mark.parametrize("url", [r"https://example.com/\ud800", r"https://\udfff.example/"])
    def test_lone_surrogates_are_refused(self, served: App, url: str) -> None:
        headers = {**served.authorization, "Content-Type": "application/json"}
        body = f'{{"url": "{url}"}}'.encode()
        answer = attack(served, message("POST", LINKS, headers=headers, body=body))
        assert_refused(answer, 422, "validation_failed", "body.url")

    @pytest.mark.parametrize("query", ["since=2000-01-01T00:00:00Z", "bucket=second", "until=0"])
    def test_a_series_without_end(self, served: App, query: str) -> None:
        slug = create(served, url="https://example.com/").json()["slug"]
        with served.client() as client:
            answer = client.get(f"{LINKS}/{slug}/clicks?{query}")
        assert_field_refused(answer, f"query.{query.partition('=')[0]}")


class TestRedirects:
    """A redirect leads to what was stored, and a path that can be no slug is 404."""

    @pytest.mark.parametrize(
        ("url", "location"),
        [
            ("https://\u0430pple.com/", "https://xn--pple-43d.com/"),  # a Cyrillic a
            ("https://\uff45xample\u3002com/", "https://example.com/"),  # fullwidth e and full stop
            ("https://example.com/\u202egpj.exe", "https://example.com/%E2%80%AEgpj.exe"),
            ("HTTPS://EXAMPLE.com/%0d%0aX:%20y", "HTTPS://EXAMPLE.com/%0d%0aX:%20y"),
        ],
    )
    def test_an_international_address_shows_where_it_leads(
        self, served: App, url: str, location: str
    ) -> None:
        answer = create(served, url=url)
        assert (answer.status_code, answer.json()["url"]) == (201, location)
        redirect = attack(served, message("GET", f"/{answer.json()['slug']}"))
        assert (redirect.status, redirect.headers["location"]) == (302, location)

    @pytest.mark.parametrize(
        "path", ["/%00", "/a%0ab", "/%ff", "/" + "x" * 60_000, "/a%7cb", "/%2e%2e"]
    )
    def test_a_path_that_can_be_none_is_not_found(self, served: App, path: str) -> None:
        answer = attack(served, message("GET", path))
        assert_refused(answer, 404, "link_not_found")
        assert len(answer.body) < 1000
