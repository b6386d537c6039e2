"""The worker's jobs of all features: see them, run them again, cancel them.

The jobs themselves belong to the features that declare a `Work.control`.
"""

from pathlib import Path

from app.features.jobs.page import router as page_router
from app.features.jobs.panel import load_panel
from app.features.jobs.router import router
from app.infra.feature import Feature, Panel

feature = Feature(
    name="jobs",
    routers=(router, page_router),
    panel=Panel("Jobs", Path(__file__).parent / "templates", load_panel),
)
