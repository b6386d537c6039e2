"""`make init NAME=orders`: turns the template into somebody's own service.

The name has the same spelling everywhere (package, image, database, token, Compose project), so
this replaces text in all files that git tracks. It computes everything in memory, and then writes
the files.
"""
