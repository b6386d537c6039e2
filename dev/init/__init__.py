"""`make init`: this repository under the name of whoever cloned it.

The name stands in one spelling wherever it is needed (package, image, database, token, compose
project), so that replacing text is all that a rename takes. Standard library only, since it runs
before anything is installed; no list of files, since whatever git tracks is read.
"""
