"""The fixtures are a plugin, so that tests/stack and the features share one running stack."""

pytest_plugins = ["tests.stack.fixtures"]
