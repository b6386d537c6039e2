"""/docs without the internet: Swagger UI from a package, under a strict content security policy.

FastAPI's own page loads the files from a CDN and needs an inline script.
"""

from functools import lru_cache
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.errors import NotFound
from app.infra.http.problems import MEDIA_TYPE

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
# Without persistAuthorization: it would keep the token in the browser's localStorage for good.
START = """\
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#docs", deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout",
});
"""
STYLE = """\
body { margin: 0; }
.back { max-width: 1460px; margin: 0 auto; padding: 20px 20px 0; box-sizing: border-box; }
.back { font: 16px sans-serif; }
.back a { color: #0d5c6b; }
.dark-mode body { background: #1c2022; }
.dark-mode .back a { color: #7ccbd5; }
"""
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Drydock API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="stylesheet" href="docs/page.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<p class="back"><a href="./">Back to Drydock</a></p>
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
OWN = {"start.js": (START, "text/javascript"), "page.css": (STYLE, "text/css")}
# Swagger UI sets style attributes, and its icons are data: URLs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def install_docs(app: FastAPI) -> None:
    async def page(_request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        cache = {"Cache-Control": "public, max-age=86400"}
        if name in OWN:
            content, media_type = OWN[name]
            return Response(content, media_type=media_type, headers=cache)
        if name not in ASSETS:
            raise NotFound("There is no such path.")
        return Response(_content(name), media_type=ASSETS[name], headers=cache)

    app.add_route("/docs", page, include_in_schema=False)
    app.add_route("/docs/{name}", asset, include_in_schema=False)


@lru_cache
def _content(name: str) -> bytes:
    """One copy for all clients: the largest file has more than a megabyte."""
    return (files("fastapi_swagger") / "resources" / name).read_bytes()


def describe_problems(app: FastAPI) -> None:
    """Correct the errors in the OpenAPI document: problem+json, and no 422 that never happens."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
                servers=app.servers or None,
            )
            for path in schema["paths"].values():
                for operation in path.values():
                    _describe(operation["responses"])
            for unused in ("HTTPValidationError", "ValidationError"):
                schema.get("components", {}).get("schemas", {}).pop(unused, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def _describe(answers: dict[str, Any]) -> None:
    for status, answer in list(answers.items()):
        content = answer.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if schema.get("$ref", "").endswith("/HTTPValidationError"):
            del answers[status]  # FastAPI's own; this operation declares no ValidationFailed
        if schema.get("$ref", "").endswith("/Problem"):
            content[MEDIA_TYPE] = content.pop("application/json")
