"""What make calls first: it refuses an old Python, and makes .venv or runs `python -m dev …`.

`python3 dev/bootstrap.py doctor` runs a command without .venv. Every Python 3 can parse this file;
it has not even an f-string. So an old Python prints the message below, and not a SyntaxError.
"""

import os
import sys

OLDEST = (3, 11)
KNOWN = ("python3.14", "python3.13", "python3.12", "python3.11")


def remedy() -> str:
    """Name a suitable interpreter on PATH, or say what to install."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for name in KNOWN:
            if os.access(os.path.join(folder, name), os.X_OK):  # noqa: PTH118 - see above
                return "This machine has one. Name it, as in: make dev PYTHON=" + name
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

    # Python puts a script's folder first on sys.path, and dev/redis.py would hide the package
    # redis. The root of the clone replaces that folder.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

    from dev.__main__ import main

    sys.exit(main(sys.argv[1:] or ["install"]))
