"""How fast the service is, beside the least that FastAPI can do: `make bench`.

It knows the service by HTTP alone. `scenarios/` says what is measured; `laboratory` is where.
"""
