"""Drydock: a service on FastAPI, Postgres and Redis."""
