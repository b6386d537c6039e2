"""The workflows themselves, run on this machine: `make test-workflows`. Needs a Docker Engine."""
