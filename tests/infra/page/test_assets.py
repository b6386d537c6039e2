"""The pages' files: kept by browsers until they change, and no other file is served."""

from pathlib import Path

import httpx
import pytest

from app.infra.page import assets
from app.infra.page.assets import TYPES, Assets


class TestServed:
    """An address with the file's hash may be kept for good; another one may not."""

    @pytest.mark.parametrize("name", sorted(TYPES))
    async def test_each_has_its_type(self, client: httpx.AsyncClient, name: str) -> None:
        answer = await client.get(Assets(watch=False).url(name))
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == TYPES[name]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"

    @pytest.mark.parametrize("address", ["/static/page.css", "/static/page.css?v=0123456789ab"])
    async def test_another_versions_address_is_asked_for_again(
        self, client: httpx.AsyncClient, address: str
    ) -> None:
        assert (await client.get(address)).headers["cache-control"] == "no-cache"

    @pytest.mark.parametrize("name", ["..%2Fassets.py", "none.css", "page.css.map", ""])
    async def test_no_other_file_is(self, client: httpx.AsyncClient, name: str) -> None:
        assert (await client.get(f"/static/{name}")).status_code == 404


class TestChanged:
    """In development an edit is served at once; in production a file is read once."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(assets, "FOLDER", tmp_path)
        (tmp_path / "page.css").write_text("a {}")
        return tmp_path

    @pytest.mark.parametrize(("watch", "changes"), [(True, True), (False, False)])
    def test_after_an_edit(self, folder: Path, watch: bool, changes: bool) -> None:  # noqa: FBT001 -- parametrized
        files = Assets(watch=watch)
        before = files.url("page.css")
        (folder / "page.css").write_text("b {}")
        assert (files.url("page.css") != before) is changes


class TestSelfContained:
    """No file names an address outside, and none holds HTML that a script would parse."""

    @pytest.mark.parametrize("name", ["page.css", "page.js"])
    def test_it(self, name: str) -> None:
        text = Assets(watch=False).read(name).content.decode()
        assert "//" not in text.replace("// ", "")
        assert "innerHTML =" not in text
        assert "@import" not in text
        assert "url(" not in text
