"""The embedded runtime: Drydock on a machine without Docker.

Here live the making of .venv (bootstrap, install), the real Postgres and Redis that
come out of Python packages (servers), and the launcher behind `make dev` (up). Nothing
in `app/` imports this package and this package imports nothing of `app/`: it runs the
same commands that a container runs. Standard library only, since it also runs before
anything is installed.
"""
