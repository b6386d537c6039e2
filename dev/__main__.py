"""`python -m dev …`: what the Makefile calls. Each command is a function of another module."""

import argparse
import sys

from dev.errors import DevError, ForeignFileError, Interrupted
from dev.run import remove_data, run, serve, tell_environment
from dev.stack import stack
from dev.up import up


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m dev", description="What make calls.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="run app, worker, Postgres and Redis until Ctrl-C")
    commands.add_parser("stack", help="run the compose stack until Ctrl-C")
    commands.add_parser("services", help="run Postgres and Redis only, and print how to reach them")
    commands.add_parser("env", help="print how to reach what is running")
    program = commands.add_parser(
        "run", help="run a program with Postgres and Redis: run -- CMD ARG…"
    )
    program.add_argument("words", nargs="+", metavar="CMD")
    removal = commands.add_parser("remove-data", help="remove .local/")
    removal.add_argument("--yes", action="store_true", help="don't ask")
    return parser.parse_args(words)


def main() -> int:
    """Run one command; return its exit code."""
    chosen = parse(sys.argv[1:])
    try:
        match chosen.command:
            case "up":
                code = up()
            case "stack":
                code = stack()
            case "services":
                code = serve()
            case "env":
                code = tell_environment()
            case "run":
                code = run(chosen.words)
            case _:
                code = remove_data(sure=chosen.yes)
    except (Interrupted, KeyboardInterrupt):
        # Ctrl-C is how these two end; anything else it cuts short.
        return 0 if chosen.command in {"up", "services"} else 130
    except DevError as error:
        print(error, file=sys.stderr)
    except PermissionError as error:
        print(ForeignFileError(error), file=sys.stderr)
    else:
        return code
    return 1


if __name__ == "__main__":
    sys.exit(main())
