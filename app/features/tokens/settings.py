"""The settings of this feature. `.env.example` explains them."""

from typing import Annotated

from pydantic import Field

from app.config import FeatureSettings


class TokensSettings(FeatureSettings):
    token_cache_seconds: Annotated[float, Field(ge=0, le=60)] = 1.0
    session_idle_seconds: Annotated[int, Field(ge=300, le=2_592_000)] = 3600
    session_seconds: Annotated[int, Field(ge=300, le=2_592_000)] = 43_200
