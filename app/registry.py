"""The features of this service. To remove one, delete its two lines here and its folder."""

from collections.abc import Sequence

from app.features.links import feature as links  # sample
from app.features.tokens import feature as tokens
from app.infra.feature import Feature

FEATURES: Sequence[Feature] = [
    tokens,
    links,  # sample
]
