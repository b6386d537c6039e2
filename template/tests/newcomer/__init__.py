"""What a newcomer does: clone, `make dev`, and use the page in a real browser."""
