"""The pipeline's scripts against a real registry, a real scanner and a real stack."""
