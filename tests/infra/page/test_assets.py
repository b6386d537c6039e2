"""Static files: browsers cache them until they change, and no other file is served."""

from pathlib import Path

import httpx
import pytest

from app.infra.page.assets import FILES, TYPES, Assets


class TestServed:
    """Browsers may cache an address with the file's hash. They ask again for all others."""

    @pytest.mark.parametrize("name", sorted(FILES))
    async def test_each_file_has_its_type(self, client: httpx.AsyncClient, name: str) -> None:
        answer = await client.get(Assets(FILES, watch=False).url(name))
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == TYPES[FILES[name].suffix]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        for query in ("", "?v=0123456789ab"):
            other = await client.get(f"/static/{name}{query}")
            assert other.headers["cache-control"] == "no-cache"

    @pytest.mark.parametrize("name", ["..%2Fassets.py", "none.css", "page.css.map", ""])
    async def test_no_other_file_is_served(self, client: httpx.AsyncClient, name: str) -> None:
        assert (await client.get(f"/static/{name}")).status_code == 404

    @pytest.mark.parametrize("watch", [True, False])
    def test_only_in_development_an_edit_is_served_at_once(
        self, tmp_path: Path, *, watch: bool
    ) -> None:
        path = tmp_path / "page.css"
        path.write_text("a {}")
        assets = Assets({"page.css": path}, watch=watch)
        before = assets.url("page.css")
        path.write_text("b {}")
        assert (assets.url("page.css") != before) is watch
