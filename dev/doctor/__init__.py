"""`make doctor`: what goes wrong on people's machines, recognised, and the remedy for each.

It looks and changes nothing. Standard library only: it runs where nothing could be installed.
Which Python is new enough is asked before it (dev/bootstrap.py).
"""
