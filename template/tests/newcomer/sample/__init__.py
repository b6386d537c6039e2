"""The sample in a real browser: `make check-more`."""
