"""Pages from Jinja templates: the environment, the response headers, and errors as pages."""

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from jinja2 import Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.errors import AppError
from app.infra.http.answers import Answered
from app.infra.http.idempotency import OnceRoute
from app.infra.http.problems import as_app_error
from app.infra.page.assets import FILES, Assets
from app.printable import escape_controls

TEMPLATES = Path(__file__).parent / "templates"

# The prefix of the addresses that the pages' forms are sent to.
PREFIX = "/page"

# Nothing inline, nothing from elsewhere, and no script can turn text into HTML.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}


class Pages:
    """The templates of all folders. Those of folder x are named `x/<file>`.

    If a folder has a `style.css`, every page loads it. With `watch`, an edited template or static
    file is used at once. `base` stands before all addresses.
    """

    def __init__(self, folders: Mapping[str, Path], *, watch: bool, base: str = "") -> None:
        styles = {f"{name}.css": folder / "style.css" for name, folder in folders.items()}
        styles = {name: path for name, path in styles.items() if path.is_file()}
        self.assets = Assets(FILES | styles, watch=watch)

        def asset(name: str) -> str:
            return base + self.assets.url(name)

        loaders = {
            name: FileSystemLoader(folder)
            for name, folder in {"page": TEMPLATES, **folders}.items()
        }
        self._environment = Environment(
            loader=PrefixLoader(loaders),
            autoescape=True,
            finalize=_escape,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=watch,
        )
        self._environment.globals.update(
            asset=asset,
            base=base,
            make_key=make_key,
            prefix=f"{base}{PREFIX}",
            styles=["page.css", *styles],
        )

    def load(self) -> None:
        """Compile all templates now, rather than at their first use."""
        for name in self._environment.list_templates(extensions=["html"]):
            self._environment.get_template(name)

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        return self._environment.get_template(template).render(context)


def make_key() -> str:
    """An idempotency key for a form: a form that is sent twice is carried out once."""
    return uuid4().hex


def _escape(value: Any) -> Any:
    """Jinja calls this with each value: it escapes HTML itself, and control characters here."""
    return escape_controls(value) if type(value) is str else value


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """Answer with a template. For a HEAD request the server sends the headers only."""
    pages = cast("Pages", request.app.state.pages)
    return HTMLResponse(pages.render(template, context), status_code=status, headers=HEADERS)


def see_other(path: str) -> Response:
    """Redirect after a form was handled, so that a reload does not send it again."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def error_page(request: Request, error: AppError) -> HTMLResponse:
    answer = page(
        request,
        "page/error.html",
        status=error.status,
        error=error,
        request_id=request.state.request_id,
    )
    answer.headers.update(error.headers)
    return answer


class PageRoute(OnceRoute):
    """A route that answers errors with a page instead of a problem document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_as_page(request: Request) -> Response:
            try:
                return await handle(request)
            except Answered:
                raise
            except Exception as error:
                # as_app_error logs unexpected ones. The page is raised, since a returned one would
                # commit the request's transaction.
                raise Answered(error_page(request, as_app_error(error))) from error

        return handle_as_page
