"""Runs the workflows on this machine with act: `make check-more`. Needs a Docker Engine."""
