"""How fast the service is, compared with a minimal FastAPI app: `make bench`.

It knows the service by HTTP alone. `scenarios/` says what is measured; `laboratory` is where.
"""
