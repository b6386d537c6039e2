"""`make init NAME=orders`: turns the template into somebody's own service.

The name stands in one spelling wherever it is needed (package, image, database, token, Compose
project), so replacing text renames it. There is no list of files to rename: whatever git tracks is
read. Everything is computed in memory before the first file is written.
"""
