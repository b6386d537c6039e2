"""The settings of this feature. `.env.example` explains them."""

from typing import Annotated

from pydantic import Field

from app.config import FeatureSettings


class TokensSettings(FeatureSettings):
    token_cache_seconds: Annotated[float, Field(ge=0, le=60)] = 1.0
