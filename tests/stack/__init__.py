"""Tests against running containers: `make check-docker`."""
