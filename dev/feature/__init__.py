"""`make feature`: writes a new feature, and takes it back while nothing of it was committed."""
