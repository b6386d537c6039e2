"""Tests against running containers: `make test-stack`. They import nothing of app."""
