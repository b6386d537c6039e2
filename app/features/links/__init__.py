"""Short links: the sample. Delete this folder, its tests, its migration and its registry line."""

from app.features.links.edge import RedirectEdge
from app.features.links.redirect import router as redirect_router
from app.features.links.router import imports_router, links_router
from app.features.links.runtime import open_runtime
from app.features.links.tasks import purge, resume_imports, roll_up_clicks, run_import
from app.infra.feature import Cron, Feature

feature = Feature(
    name="links",
    routers=(links_router,),
    upload_routers=(imports_router,),
    last_routers=(redirect_router,),
    runtime=open_runtime,
    edge=RedirectEdge,
    jobs=(run_import,),
    crons=(Cron(purge, "17 * * * *"),),
    loops=(roll_up_clicks, resume_imports),
)
