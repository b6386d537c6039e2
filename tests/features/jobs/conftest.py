"""Jobs for tests, in memory. Those of real rows are tested with their features."""

import pytest

from app.infra.lifespan import Resources
from tests.kept import Kept

JOBS = "/api/v1/jobs"


@pytest.fixture
def kept(resources: Resources) -> Kept:
    """The only jobs of the service."""
    kept = Kept()
    resources.jobs[:] = [kept.control]
    return kept
