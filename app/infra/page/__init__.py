"""HTML for people: templates, assets, charts and what keeps them safe. What is shown, others say.

No module here imports Jinja before a page is asked for.
"""
