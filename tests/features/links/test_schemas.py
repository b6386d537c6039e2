"""The values of a link: Postgres and a Location header take every valid one."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.config import Settings
from app.errors import fault_message
from app.features.links.schemas import LONGEST_URL, RESERVED, LinkUpdate, Slug, WebAddress
from app.infra.metrics import Metrics
from app.main import create_api

slug = TypeAdapter[str](Slug)
url = TypeAdapter[str](WebAddress)

# The constraints of the table, as the migration has them.
SLUG_IN_DATABASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,63}")
URL_IN_DATABASE = re.compile(r"https?://[!-~]+", re.IGNORECASE)

hosts = st.sampled_from(["example.com", "bücher.example", "[::1]", "127.0.0.1:8000", "a_b.example"])


class TestUrl:
    """A URL is http or https, has no credentials, and is stored unchanged if it is ASCII."""

    @given(st.sampled_from(["http", "https", "HTTPS"]), hosts, st.text(max_size=100))
    def test_what_passes_can_be_stored_and_sent(self, scheme: str, host: str, rest: str) -> None:
        given_url = f"{scheme}://{host}/{rest}"
        try:
            kept = url.validate_python(given_url)
        except ValidationError:
            return
        assert URL_IN_DATABASE.fullmatch(kept)
        assert len(kept) <= LONGEST_URL
        assert kept == given_url or not given_url.isascii()
        assert url.validate_python(kept) == kept

    @pytest.mark.parametrize(
        ("given_url", "kept"),
        [
            (
                "https://bücher.example/ü?ö=ä#ß",
                "https://xn--bcher-kva.example/%C3%BC?%C3%B6=%C3%A4#%C3%9F",
            ),
            ("http://例え.テスト/", "http://xn--r8jz45g.xn--zckzah/"),
            ("https://EXAMPLE.com/A/../b", "https://EXAMPLE.com/A/../b"),
            ("https://example.com//a?b=http:///c#//d", "https://example.com//a?b=http:///c#//d"),
            ("http://\uff45vil\u3002example", "http://evil.example/"),
        ],
    )
    def test_an_international_one_is_written_in_ascii(self, given_url: str, kept: str) -> None:
        assert url.validate_python(given_url) == kept

    @pytest.mark.parametrize(
        "text",
        [
            *("", "example.com", "//example.com", "/deck", "ftp://example.com", "http:example.com"),
            *("javascript:alert(1)", "JAVASCRIPT://example.com/%0aalert(1)", "data:text/html,x"),
            *("https://", "https://:80/", "https://exa mple.com", "https://example.com/a b"),
            *("https://example.com/\r\nSet-Cookie:a=b", "https://example.com/\x00", "\thttp://a.b"),
            *("https://ada@example.com", "https://ada:secret@example.com", "https://@example.com"),
            *("https://example.com\\@evil.example", "https://example.com/<script>", 'http://a.b/"'),
            *("http:///evil.example", "http:////evil.example", "http://?evil.example", "http://#a"),
            *("http:/evil.example", "http:\\\\evil.example", "http:/\\evil.example", "http://a\\b"),
            *(
                "http://a.example\t/",
                "ht\ntp://a.example",
                "http://a.example%00/",
                "http://a:b:80/",
            ),
            *("http://evil%2eexample", "http://0x7f.1", "http://2130706433", "http://127.1"),
            *("https://[::1", "https://example.com:99999", "https://example.com/\ud800"),
        ],
    )
    def test_others_are_refused(self, text: str) -> None:
        with pytest.raises(ValidationError) as refused:
            url.validate_python(text)
        # The message is written for people: no regular expression, no report of pydantic's.
        message = fault_message(refused.value.errors()[0])
        assert re.fullmatch(r"(must|String should|Input should) [^^\[\n]{5,100}", message)

    def test_its_length_counts_in_ascii(self) -> None:
        base = "https://example.com/"
        assert url.validate_python(base + "x" * (LONGEST_URL - len(base)))
        for rest in ("x" * (LONGEST_URL - len(base) + 1), "ü" * (LONGEST_URL // 4)):
            with pytest.raises(ValidationError, match="2048"):
                url.validate_python(base + rest)


class TestSlug:
    """A slug is two to sixty-four letters, digits, - and _, and no reserved word."""

    @given(st.text() | st.from_regex(SLUG_IN_DATABASE))
    @example("deck\n")
    @example("\uff44eck")
    @example("-a")
    def test_what_passes_is_what_the_database_takes(self, text: str) -> None:
        allowed = SLUG_IN_DATABASE.fullmatch(text) and text.lower() not in RESERVED
        try:
            kept = slug.validate_python(text)
        except ValidationError:
            assert not allowed
        else:
            assert allowed
            assert kept == text


class TestReserved:
    """No slug is the first segment of a path of the service."""

    def test_the_first_segment_of_every_route_is_reserved(
        self, settings: Settings, document: dict[str, Any]
    ) -> None:
        api = create_api(settings, Metrics(settings))
        paths = set(document["paths"])
        paths |= {str(route.path) for route in api.routes if getattr(route, "path", None)}  # type: ignore[attr-defined]
        assert {"/docs", "/health", "/api/v1/tokens"} <= paths
        segments = {path.split("/")[1] for path in paths} - {"", "{slug}"}
        could_be_slugs = {part for part in segments if SLUG_IN_DATABASE.fullmatch(part)}
        assert could_be_slugs <= RESERVED


class TestUpdate:
    """A change may leave out the URL, and can't remove it."""

    def test_a_url_can_be_left_out_and_not_removed(self) -> None:
        with pytest.raises(ValidationError):
            LinkUpdate.model_validate({"url": None})
        schema = LinkUpdate.model_json_schema()["properties"]["url"]
        assert "default" not in schema
        assert schema["type"] == "string"
