"""`python -m dev …`: the commands that the Makefile calls. Other modules implement them."""

import argparse
import io
import sys
from collections.abc import Sequence

from dev import doctor
from dev.data import remove_data
from dev.errors import DevError, ForeignFileError, Interrupted
from dev.install import install, is_current
from dev.run import run
from dev.stack import stack
from dev.up import up
from dev.update import update


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev", description="The commands behind make.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="make .venv, or bring it up to date")
    commands.add_parser("up", help="run app, worker, Postgres and Redis until Ctrl-C")
    commands.add_parser("stack", help="run the compose stack until Ctrl-C")
    commands.add_parser("update", help="take in a newer version of the source")
    program = commands.add_parser(
        "run", help="run a program with Postgres and Redis: run -- CMD ARG…"
    )
    program.add_argument("--owner", action="store_true", help="with the right to change tables")
    program.add_argument("words", nargs="+", metavar="CMD")
    removal = commands.add_parser("remove-data", help="remove this clone's development data")
    removal.add_argument("--yes", action="store_true", help="don't ask")
    look = commands.add_parser("doctor", help="find what is wrong with this machine")
    look.add_argument("--runtime", choices=["docker", "embedded"], help="as for make dev")
    look.add_argument("--choose", action="store_true", help="only print what make dev would take")
    return parser.parse_args(words)


def dispatch(chosen: argparse.Namespace) -> int:
    """Run one command; return its exit code."""
    match chosen.command:
        case "install":
            if not is_current():
                install()
            return 0
        case "up" | "update":
            return up() if chosen.command == "up" else update()
        case "stack":
            return stack()
        case "run":
            return run(chosen.words, as_owner=chosen.owner)
        case "doctor":
            return doctor.choose() if chosen.choose else doctor.main(chosen.runtime)
        case _:
            return remove_data(sure=chosen.yes)


def main(words: Sequence[str]) -> int:
    """Run one command; show an expected error without a traceback."""
    chosen = parse(words)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack characters of a path
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return dispatch(chosen)
    except (Interrupted, KeyboardInterrupt):
        # Ctrl-C is the normal end of `up`. It interrupts every other command.
        return 0 if chosen.command == "up" else 130
    except DevError as error:
        print(error, file=sys.stderr)
    except PermissionError as error:
        print(ForeignFileError(error), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
