"""Templates escape what they show, errors are pages, and Jinja is loaded by the first page."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from jinja2 import UndefinedError

from app.infra.page.render import Pages
from tests.pages import Page


class TestTemplates:
    """What is shown is text, whatever it holds."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "berth.html").write_text("""<p title="{{ said }}">{{ said }}</p>""")
        return tmp_path

    async def test_everything_is_escaped(self, folder: Path) -> None:
        pages = Pages({"ships": folder}, watch=False)
        said = """"><script>alert('1')</script>"""
        shown = Page(await pages.render("ships/berth.html", {"said": said}))
        assert [element.tag for element in shown.elements] == ["p"]
        assert shown.one("p").attributes["title"] == said
        assert shown.text == said

    async def test_what_is_not_given_is_an_error(self, folder: Path) -> None:
        with pytest.raises(UndefinedError):
            await Pages({"ships": folder}, watch=False).render("ships/berth.html", {})

    @pytest.mark.parametrize(("watch", "said"), [(True, "new"), (False, "old")])
    async def test_an_edit_is_shown_in_development_only(
        self,
        folder: Path,
        watch: bool,  # noqa: FBT001 -- parametrized
        said: str,
    ) -> None:
        pages = Pages({"ships": folder}, watch=watch)
        (folder / "berth.html").write_text("old")
        await pages.render("ships/berth.html", {})
        (folder / "berth.html").write_text("new")
        # What tells Jinja is the file's time, and two writes may have the same.
        (folder / "berth.html").touch()
        assert await pages.render("ships/berth.html", {}) == said

    def test_no_process_imports_jinja_before_the_first_page(self) -> None:
        program = "import sys, app.main; sys.exit('jinja2' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestErrors:
    """Whatever goes wrong on a page is a page with its status, its id and a way back."""

    async def test_a_path_without_a_token(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/page/sign-in", data={"token": "nonsense"})
        assert answer.status_code == 401
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]

    async def test_a_failure_of_ours_tells_nothing_but_its_id(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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
