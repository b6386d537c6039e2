"""HTTP for all features: problem documents, middleware, rate limits, pages, documentation."""
