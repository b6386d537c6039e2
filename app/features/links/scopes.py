"""The scopes of this feature."""

from app.features.tokens.scopes import declare_scope

LINKS_READ = declare_scope("links:read", "Read links, their clicks and imports.")
LINKS_WRITE = declare_scope("links:write", "Create, change, delete and import links.")
