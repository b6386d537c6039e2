"""Protection against cross-site request forgery: forms are accepted from our own pages only.

The cookie is SameSite=Strict, but browsers treat another subdomain or port as the same site. So
this also checks the headers Sec-Fetch-Site and Origin, as Go's net/http.CrossOriginProtection
does. A token in each form is then not needed.
"""

from urllib.parse import urlsplit

from starlette.requests import Request

from app.errors import AppError

SAFE = {"GET", "HEAD"}  # these methods change nothing
OURS = {"same-origin", "none"}  # none: the person typed the address or reloaded the page


class CrossSite(AppError):
    code = "cross_site"
    status = 403
    title = "This form was sent from another site"


async def require_same_origin(request: Request) -> None:
    """Raises `CrossSite`. Browsers since 2020 send at least one of the two headers."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        ours = site in OURS
    else:
        # PUBLIC_URL has the scheme that browsers use; the proxy may speak another one with us.
        scheme = urlsplit(request.state.resources.settings.public_url).scheme
        ours = origin is None or origin == f"{scheme}://{request.headers.get('host')}"
    if not ours and request.method not in SAFE:
        raise CrossSite("Use the form on this service's own page. Nothing was changed.")
