"""What the image costs while nobody asks: memory beside the least service, and its probes."""

import logging
from functools import partial

import pytest

from template.figures import BASELINE, LEAST, cpu_of_probe, held
from tests.polling import until
from tests.stack.images import ONE, Images
from tests.stack.stack import Stack, is_ready

log = logging.getLogger("image")

LIMIT = 0.050  # seconds of CPU for one health check
MORE = 1.1  # times the memory of the least service of the same packages

pytestmark = pytest.mark.long


class TestMemory:
    """An idle app holds at most 10 % more than the least service of the same packages."""

    def test_beside_the_least(self, stack: Stack, images: Images) -> None:
        with (
            stack.beside(images.name(ONE)) as ours,
            stack.beside(images.name(ONE), *LEAST, mounts=BASELINE) as least,
        ):
            for container in (ours, least):
                until(partial(is_ready, container))
            sizes = [held(container) for container in (ours, least)]
        log.info("memory: %.1f MB, the least service's %.1f MB", *(size / 1e6 for size in sizes))
        assert sizes[0] <= MORE * sizes[1]


class TestHealthcheck:
    """A probe of the running service costs less than 50 ms of CPU."""

    @pytest.mark.parametrize("service", ["app", "worker"])
    def test_cost(self, stack: Stack, service: str) -> None:
        assert cpu_of_probe(stack, service) < LIMIT
