"""The scopes of this feature."""

from app.features.tokens.scopes import declare_scope

JOBS_READ = declare_scope("jobs:read", "See the jobs of all features, and why they failed.")
JOBS_WRITE = declare_scope("jobs:write", "Run failed jobs again, and cancel jobs.")
