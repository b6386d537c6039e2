"""The variables that the service runs with: the shell's, .env's, and those that we compute."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from dev.clone import ROOT
from dev.services import Services

ASSIGNMENT = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
    (?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<plain>.*?))
    (?:\s+\#.*|\s*)$""",
    re.VERBOSE,
)


def read_dotenv(path: Path) -> dict[str, str]:
    """Read NAME=value lines, as docker compose does, less its interpolation of ${NAME}."""
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        found = ASSIGNMENT.match(line)
        if found is None or line.lstrip().startswith("#"):
            continue
        if (double := found["double"]) is not None:
            value = re.sub(
                r"\\(.)", lambda escape: {"n": "\n", "t": "\t"}.get(escape[1], escape[1]), double
            )
        elif (single := found["single"]) is not None:
            value = single
        else:
            value = "" if found["plain"].startswith("#") else found["plain"]
        values[found["name"]] = value
    return values


def given_environment() -> dict[str, str]:
    """Return the shell's variables over those of .env; an empty one counts as not given."""
    merged = read_dotenv(ROOT / ".env") | dict(os.environ)
    return {name: value for name, value in merged.items() if value}


def service_environment(
    given: Mapping[str, str], running: Services, *, port: int | str, metrics_port: int | str
) -> dict[str, str]:
    """Return the variables that depend on what runs where; they come on top of the given ones."""
    return {
        "ENVIRONMENT": given.get("ENVIRONMENT", "development"),
        "PUBLIC_URL": given.get("PUBLIC_URL", f"http://127.0.0.1:{port}"),
        "DATABASE_URL": running.database_url,
        "REDIS_URL": running.redis_url,
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
    }
