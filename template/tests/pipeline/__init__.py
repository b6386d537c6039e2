"""The pipeline's scripts and files, without Docker: what they decide, refuse and say."""
