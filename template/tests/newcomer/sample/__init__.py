"""The sample in a real browser, as a newcomer meets it: `make test-browser`."""
