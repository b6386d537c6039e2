"""`python -m dev.feature …`: what `make feature` calls."""

import argparse
import sys

from dev.errors import DevError
from dev.feature.undo import revisions, undo
from dev.feature.write import write


def main() -> int:
    """Run one command; show an expected error without a traceback."""
    parser = argparse.ArgumentParser(prog="python -m dev.feature")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("write", help="write a feature")
    new.add_argument("name", help="its plural, such as invoices")
    new.add_argument("fields", help='such as "number:str:unique due:date"')
    new.add_argument("--singular", default="", help="what one of them is called")
    new.add_argument("--jobs", action="store_true", help="with a nightly job")
    new.add_argument("--no-panel", action="store_true", help="without a part of the page at /")
    for command, does in (("undo", "take a feature back"), ("revisions", "print those of one")):
        commands.add_parser(command, help=does).add_argument("name")
    chosen = parser.parse_args()
    try:
        match chosen.command:
            case "write":
                write(
                    chosen.name,
                    chosen.fields,
                    singular=chosen.singular,
                    jobs=chosen.jobs,
                    panel=not chosen.no_panel,
                )
            case "undo":
                undo(chosen.name)
            case _:
                print(*revisions(chosen.name))
    except DevError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
