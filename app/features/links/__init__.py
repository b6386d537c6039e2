"""Short links: the sample. Delete this folder, its tests, its migrations and its registry lines.

This is an advanced example. `cache`, `edge`, `follower`, `clicks` and `invalidation` make redirects
fast and count each click exactly once, whatever is killed meanwhile: few features need that. For a
feature of your own copy `tokens`, which has the same layers and nothing else.
"""

from pathlib import Path

from app.features.links.edge import RedirectEdge
from app.features.links.invalidation import repeat_invalidations
from app.features.links.jobs import control
from app.features.links.lifecycle import backlog
from app.features.links.page import files_router, forms_router
from app.features.links.panel import load_panel
from app.features.links.redirect import router as redirect_router
from app.features.links.router import imports_router, links_router
from app.features.links.runtime import open_runtime
from app.features.links.settings import LinksSettings
from app.features.links.tasks import purge, resume_imports, roll_up_clicks, run_import
from app.infra.feature import Command, Cron, Feature, Panel, Work

feature = Feature(
    name="links",
    settings=LinksSettings,
    routers=(links_router, imports_router, forms_router, files_router, redirect_router),
    panel=Panel("Links", Path(__file__).parent / "templates", load_panel),
    commands=(
        Command(
            'curl -s {url}/api/v1/links -H "Authorization: Bearer $TOKEN" '
            "-H 'Content-Type: application/json' -H 'Idempotency-Key: hello' "
            """-d '{"url": "https://example.com/", "slug": "hello"}'""",
            "Make a short link over the API",
        ),
        Command("curl -i {url}/hello", "Follow it"),
        Command(
            'sleep 2; curl -s {url}/api/v1/links/hello/clicks -H "Authorization: Bearer $TOKEN"',
            "See its clicks, which the worker counts each second",
        ),
    ),
    work=Work(
        jobs=(run_import,),
        crons=(Cron(purge, "17 * * * *"),),
        loops=(roll_up_clicks, repeat_invalidations, resume_imports),
        backlog=backlog,
        control=control,
    ),
    runtime=open_runtime,
    edge=RedirectEdge,
)
