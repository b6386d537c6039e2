"""The settings of this feature. `.env.example` explains them."""

from typing import Annotated

from pydantic import Field

from app.config import FeatureSettings


class LinksSettings(FeatureSettings):
    cache_ttl: Annotated[int, Field(ge=1, le=86400)] = 60  # seconds
    click_history_days: Annotated[int, Field(ge=1, le=36500)] = 1826
