"""How fast the service is, beside the least that FastAPI can do: `make bench`.

It knows the service by HTTP alone. What is measured is in `links`; the rest is the laboratory.
"""
