"""HTTP for every feature alike: problem documents, middleware, limits, pages, documentation."""
