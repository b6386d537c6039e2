"""HTML for people: templates, static files, and the security headers of pages.

The content of a page comes from `app.home` and the features.
"""
