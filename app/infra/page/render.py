"""Pages from templates: Jinja's environment, the answer with its policy, and errors as pages.

The first page that is asked for loads Jinja and compiles the templates, in a thread: a process
that serves none pays neither the time nor the memory.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.errors import AppError
from app.infra.http.problems import as_app_error
from app.infra.page import charts
from app.infra.page.assets import Assets

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"

# Where the pages' forms go. No slug can hide it: the sample reserves the word.
PREFIX = "/page"

# Nothing inline, nothing from elsewhere, and no script can make HTML out of text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}


class Pages:
    """The templates of all folders; those of folder x go by `x/<file>`."""

    def __init__(self, folders: Mapping[str, Path], *, watch: bool) -> None:
        self._folders = {"page": TEMPLATES, **folders}
        self._watch = watch
        self.assets = Assets(watch=watch)
        self._environment: Environment | None = None
        self._loading = asyncio.Lock()

    async def render(self, template: str, context: Mapping[str, Any]) -> str:
        environment = self._environment or await self._first()
        return environment.get_template(template).render(context)

    async def _first(self) -> "Environment":
        async with self._loading:
            if self._environment is None:
                self._environment = await asyncio.to_thread(self._load)
            return self._environment

    def _load(self) -> "Environment":
        from jinja2 import (  # noqa: PLC0415 -- see above
            Environment,
            FileSystemLoader,
            PrefixLoader,
            StrictUndefined,
        )

        folders = {name: FileSystemLoader(folder) for name, folder in self._folders.items()}
        environment = Environment(
            loader=PrefixLoader(folders),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=self._watch,
        )
        environment.globals.update(asset=self.assets.url, prefix=PREFIX, charts=charts)
        for name in environment.list_templates():
            environment.get_template(name)
        return environment


def pages_of(request: Request) -> Pages:
    return cast("Pages", request.app.state.pages)


async def page(
    request: Request, template: str, *, status: int = 200, **context: Any
) -> HTMLResponse:
    """Answer with a template. A HEAD gets the same headers and no body from the server."""
    text = await pages_of(request).render(template, context)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def see_other(path: str) -> Response:
    """Where a form leads once it is done: a reload there sends nothing again."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)


async def error_page(request: Request, error: AppError) -> HTMLResponse:
    answer = await page(
        request,
        "page/error.html",
        status=error.status,
        error=error,
        request_id=request.state.request_id,
    )
    answer.headers.update(error.headers)
    return answer


class PageRoute(APIRoute):
    """A route whose errors are pages as well: people read them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_as_page(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # noqa: BLE001 -- as_app_error logs what is not expected
                return await error_page(request, as_app_error(error))

        return handle_as_page
