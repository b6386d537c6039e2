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


class TestErrors:
    """An error on a page is a page with the same status, without internal details."""

    async def test_a_bug(self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: object) -> None:
            raise LookupError("secret")

        monkeypatch.setattr("app.home.router.show_checks", fail)
        answer = await client.get("/")
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
