"""Tokens: who may use the API, and for what."""

from app.features.tokens.router import router
from app.infra.feature import Feature

feature = Feature(name="tokens", routers=(router,))
