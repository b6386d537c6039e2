"""What a developer's machine needs around Drydock.

Here live the making of .venv (bootstrap, install), the real Postgres and Redis that come out of
Python packages (servers), the launcher behind `make dev` without Docker (up) and with it (stack),
the development server (serve) and `make doctor`. This package imports nothing of `app/`, and `app/`
nothing of it: it runs the same commands that a container runs. It uses the standard library only,
except where .venv is sure to exist.
"""
