"""What make calls first: it turns an old Python away and makes .venv, or runs `python -m dev …`.

Commands that also work without .venv come through here: `python3 dev/bootstrap.py doctor`. This
file keeps to what every Python 3 can read, without even an f-string. An old one must get as far as
the message, and not end in a SyntaxError.
"""

import os
import sys

OLDEST = (3, 11)
KNOWN = ("python3.14", "python3.13", "python3.12", "python3.11")


def remedy() -> str:
    """Name an interpreter on PATH that would do, or say what to install."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for name in KNOWN:
            if os.access(os.path.join(folder, name), os.X_OK):  # noqa: PTH118 - see above
                return "This machine has one: make PYTHON=" + name + " and the target."
    return "Install Python 3.11 or newer. Or use Docker alone: docker compose up"


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit(
            "Drydock needs Python 3.11 or newer; "
            + sys.executable
            + " is "
            + found
            + ".\n"
            + remedy()
        )

    # A script's own folder comes first on sys.path, where dev/redis.py would hide the package of
    # that name. The root of the clone takes its place.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

    from dev.__main__ import main

    sys.exit(main(sys.argv[1:] or ["install"]))
