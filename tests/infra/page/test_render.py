"""Templates escape what they show, and errors on pages are pages."""

from pathlib import Path

import httpx
import pytest
from jinja2 import UndefinedError

from app.infra.page.render import Pages
from tests.pages import Page


class TestTemplates:
    """Templates show values as text. A missing value is an error."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "berth.html").write_text("""<p title="{{ said }}">{{ said }}</p>""")
        return tmp_path

    def test_every_value_is_escaped(self, folder: Path) -> None:
        pages = Pages({"ships": folder}, watch=False)
        said = """"><script>alert('1')</script>"""
        shown = Page(pages.render("ships/berth.html", {"said": said}))
        assert [element.tag for element in shown.elements] == ["p"]
        assert shown.one("p").attributes["title"] == said
        assert shown.text == said
        with pytest.raises(UndefinedError):
            pages.render("ships/berth.html", {})

    @pytest.mark.parametrize(("watch", "expected"), [(True, "new"), (False, "old")])
    def test_only_in_development_an_edit_is_used_at_once(
        self,
        folder: Path,
        watch: bool,  # noqa: FBT001 -- parametrized
        expected: str,
    ) -> None:
        pages = Pages({"ships": folder}, watch=watch)
        (folder / "berth.html").write_text("old")
        pages.render("ships/berth.html", {})
        (folder / "berth.html").write_text("new")
        # Jinja compares the file's time, and two writes may have the same.
        (folder / "berth.html").touch()
        assert pages.render("ships/berth.html", {}) == expected


class TestErrors:
    """An error on a page is a page with the same status, and tells nothing internal."""

    async def test_a_wrong_token(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/page/sign-in", data={"token": "nonsense"})
        assert answer.status_code == 401
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]

    async def test_a_bug(self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: object) -> None:
            raise LookupError("secret")

        monkeypatch.setattr("app.home.router.show_checks", fail)
        answer = await client.get("/")
        page = Page(answer.text)
        assert answer.status_code == 500
        assert answer.headers["x-request-id"] in page.text
        assert "secret" not in answer.text
        assert page.all("a", href="/")

    async def test_a_body_that_is_too_large(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/page/sign-in", data={"token": "x" * 70_000})
        assert answer.status_code == 413
        assert "larger than this endpoint takes" in Page(answer.text).text
