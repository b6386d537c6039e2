"""The images and stacks of tests/stack, for the tests of the pipeline's scripts."""

from tests.stack.conftest import docker, images, pytest_runtest_makereport, source, stack, stacks

__all__ = ["docker", "images", "pytest_runtest_makereport", "source", "stack", "stacks"]
