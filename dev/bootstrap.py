"""What make calls first: it refuses an old Python, and makes .venv or runs `python -m dev ARG...`.

`python3 dev/bootstrap.py doctor` runs a command without .venv. Every Python 3 can parse this file;
it has not even an f-string. So an old Python prints the message below, and not a SyntaxError.
"""

import os
import sys

OLDEST = (3, 11)

if __name__ == "__main__":
    if sys.version_info < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit(
            "Drydock needs Python 3.11 or newer; "
            + sys.executable
            + " is "
            + found
            + ".\nInstall a newer one, or name it: make dev PYTHON=/path/to/python3.13\n"
            + "Or use Docker alone: docker compose up"
        )

    # Python puts a script's folder first on sys.path, and dev/redis.py would hide the package
    # redis. The root of the clone replaces that folder, which PYTHONSAFEPATH leaves out.
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    sys.path[: not sys.flags.safe_path] = [root]

    from dev.__main__ import main

    sys.exit(main(sys.argv[1:] or ["install"]))
