"""The features of this service. To remove one, delete its line and its folder."""

from app.features import links, tokens

FEATURES = (
    tokens.feature,
    links.feature,
)
