"""The images and stacks of tests/stack, for the tests of the pipeline's scripts."""

pytest_plugins = ["tests.stack.fixtures"]
