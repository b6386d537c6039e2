"""The static files of the pages: style sheets, a script, an icon."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound

FOLDER = Path(__file__).parent / "static"
PATH = "/static"
FILES = {name: FOLDER / name for name in ("page.css", "page.js", "icon.svg")}
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
YEAR = 31_536_000  # seconds


class Asset(NamedTuple):
    content: bytes
    version: str


class Assets:
    """Each file has an address that contains its hash, so browsers may cache it for good.

    `files` are served by their names. With `watch` a file is read at each request, else once.
    """

    def __init__(self, files: Mapping[str, Path], *, watch: bool) -> None:
        self._files = files
        self._watch = watch
        self._kept: dict[str, Asset] = {}

    def url(self, name: str) -> str:
        return f"{PATH}/{name}?v={self.read(name).version}"

    def read(self, name: str) -> Asset:
        """Raises `KeyError` for an unknown name."""
        if self._watch or name not in self._kept:
            content = self._files[name].read_bytes()
            self._kept[name] = Asset(content, hashlib.sha256(content).hexdigest()[:12])
        return self._kept[name]


def install_assets(app: FastAPI, assets: Assets) -> None:
    app.add_route(f"{PATH}/{{name}}", partial(_serve, assets), include_in_schema=False)


async def _serve(assets: Assets, request: Request) -> Response:
    name = request.path_params["name"]
    try:
        asset = assets.read(name)
    except KeyError:
        raise NotFound("There is no such path.") from None
    # During a deploy the address may name another version. Browsers must not cache that.
    exact = request.query_params.get("v") == asset.version
    cache = f"public, max-age={YEAR}, immutable" if exact else "no-cache"
    media_type = TYPES[Path(name).suffix]
    return Response(asset.content, media_type=media_type, headers={"Cache-Control": cache})
