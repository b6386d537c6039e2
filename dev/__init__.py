"""What a developer's machine needs around Drydock.

Here live the making of .venv (bootstrap, install), the real Postgres and Redis that
come out of Python packages (servers), the launcher behind `make dev` without Docker (up)
and with it (stack), the first hour of a clone (init) and what to do when a machine is in
the way (doctor). Nothing in `app/` imports this package and this package imports nothing
of `app/`: it runs the same commands that a container runs. Standard library only, since
it also runs before anything is installed.
"""
