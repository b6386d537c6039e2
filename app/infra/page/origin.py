"""Forms are taken from our own pages only.

The cookie is SameSite=Strict, but a site beside ours, on another subdomain or port, counts as the
same. So we also read what browsers say of where a request comes from, as Go's standard library
does (net/http.CrossOriginProtection); a token in each form would say no more.
"""

from urllib.parse import urlsplit

from starlette.requests import Request

from app.errors import AppError

SAFE = {"GET", "HEAD"}  # they change nothing
OURS = {"same-origin", "none"}  # none: the person's own doing, such as a reload


class CrossSite(AppError):
    code = "cross_site"
    status = 403
    title = "This form was sent from another site"


async def require_same_origin(request: Request) -> None:
    """Raises `CrossSite`. A request with neither header comes from no browser of this decade."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        ours = site in OURS
    else:
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours and request.method not in SAFE:
        raise CrossSite("Forms are taken from this service's own pages. Nothing was changed.")
