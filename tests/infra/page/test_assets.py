"""Static files: browsers cache them until they change, and no other file is served."""

from pathlib import Path

import httpx
import pytest

from app.infra.page import assets
from app.infra.page.assets import TYPES, Assets


class TestServed:
    """An address with the file's hash may be cached for good. Others are asked for again."""

    @pytest.mark.parametrize("name", sorted(TYPES))
    async def test_each_has_its_type(self, client: httpx.AsyncClient, name: str) -> None:
        answer = await client.get(Assets(watch=False).url(name))
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == TYPES[name]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        for query in ("", "?v=0123456789ab"):
            other = await client.get(f"/static/{name}{query}")
            assert other.headers["cache-control"] == "no-cache"

    @pytest.mark.parametrize("name", ["..%2Fassets.py", "none.css", "page.css.map", ""])
    async def test_no_other_file_is_served(self, client: httpx.AsyncClient, name: str) -> None:
        assert (await client.get(f"/static/{name}")).status_code == 404


class TestChanged:
    """In development an edit is served at once. In production a file is read once."""

    @pytest.mark.parametrize("watch", [True, False])
    def test_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, watch: bool) -> None:
        monkeypatch.setattr(assets, "FOLDER", tmp_path)
        (tmp_path / "page.css").write_text("a {}")
        files = Assets(watch=watch)
        before = files.url("page.css")
        (tmp_path / "page.css").write_text("b {}")
        assert (files.url("page.css") != before) is watch


class TestSelfContained:
    """No file names an address elsewhere, and no script turns text into HTML."""

    @pytest.mark.parametrize("name", ["page.css", "page.js"])
    def test_it(self, name: str) -> None:
        text = Assets(watch=False).read(name).content.decode()
        assert "//" not in text.replace("// ", "")
        for forbidden in ("innerHTML =", "@import", "url("):
            assert forbidden not in text
