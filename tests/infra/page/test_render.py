"""Templates escape what they show, and errors on pages are pages."""

from pathlib import Path

import httpx
import pytest
from jinja2 import UndefinedError

from app.infra.page.render import Pages
from tests.pages import Page


class TestTemplates:
    """Templates show values as text. A missing value is an error."""

    def test_every_value_is_escaped(self, tmp_path: Path) -> None:
        (tmp_path / "berth.html").write_text("""<p title="{{ said }}">{{ said }}</p>""")
        pages = Pages({"ships": tmp_path}, watch=False)
        said = """"><script>alert('1')</script>"""
        shown = Page(pages.render("ships/berth.html", {"said": said}))
        assert [element.tag for element in shown.elements] == ["p"]
        assert shown.one("p").attributes["title"] == said
        assert shown.text == said
        with pytest.raises(UndefinedError):
            pages.render("ships/berth.html", {})

    def test_control_characters_are_escaped(self, tmp_path: Path) -> None:
        """Rows that were stored before inputs refused them may hold some."""
        (tmp_path / "berth.html").write_text("""<p title="{{ said }}">{{ said }}</p>""")
        pages = Pages({"ships": tmp_path}, watch=False)
        shown = Page(pages.render("ships/berth.html", {"said": "a\u202eb\x9bc é\u200d船"}))
        assert shown.one("p").attributes["title"] == shown.text == "a\\u202eb\\x9bc é\u200d船"

    def test_a_feature_brings_its_own_style_sheet(self, tmp_path: Path) -> None:
        (tmp_path / "style.css").write_text("p { color: red; }")
        pages = Pages({"ships": tmp_path}, watch=False)
        shown = Page(pages.render("page/base.html", {}))
        sheets = [link.attributes["href"] for link in shown.all("link", rel="stylesheet")]
        assert [sheet.partition("?")[0] for sheet in sheets] == [
            "/static/page.css",
            "/static/ships.css",
        ]
        assert pages.assets.read("ships.css").content == b"p { color: red; }"


class TestHeaders:
    """A page is not cached, and its policy allows nothing inline and no other host."""

    async def test_those_of_a_page(self, client: httpx.AsyncClient) -> None:
        headers = (await client.post("/page/sign-in")).headers
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives["default-src"] == "'none'"
        for name in ("script-src", "style-src", "img-src", "connect-src", "form-action"):
            assert directives[name] == "'self'"
        assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
        assert directives["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in policy
        assert "//" not in policy


class TestErrors:
    """An error on a page is a page with the same status, without internal details."""

    async def test_a_bug(self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: object) -> None:
            raise LookupError("secret")

        monkeypatch.setattr("app.features.tokens.browser.identify", fail)
        answer = await client.post("/page/sign-in")
        page = Page(answer.text)
        assert answer.status_code == 500
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"] in page.text
        assert "secret" not in answer.text
        assert page.all("a", href="/")

    async def test_a_body_that_is_too_large(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/page/sign-in", data={"token": "x" * 70_000})
        assert answer.status_code == 413
        assert "larger than this endpoint takes" in Page(answer.text).text
