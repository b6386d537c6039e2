"""The features of this service.

To remove one, delete its two lines here, its folder, its tests and its migrations. If another
migration follows one of those, correct its `down_revision`.
"""

from collections.abc import Sequence

from app.config import Settings
from app.features.jobs import feature as jobs
from app.features.links import feature as links  # sample
from app.features.tokens import feature as tokens
from app.infra.feature import Feature

FEATURES: Sequence[Feature] = [
    tokens,
    links,  # sample
    jobs,
]


# The settings of all features.
SETTINGS = [feature.settings for feature in FEATURES if feature.settings is not None]


def load_settings() -> Settings:
    """The service's settings and those of its features. Raises `ConfigurationError`."""
    return Settings.load(SETTINGS)
