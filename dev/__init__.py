"""What runs Drydock on a developer's machine.

- bootstrap and install make .venv.
- servers starts a real Postgres and Redis from Python packages.
- up is `make dev` without Docker, stack is `make dev` with it. serve runs the app in both.
- doctor is `make doctor`.

This package imports nothing of `app/`, and `app/` imports nothing of it. Modules that may run
before .venv exists use the standard library only.
"""
