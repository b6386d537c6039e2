"""The variables that the service gets: from the shell, from .env, and computed ones."""

import io
import os
from collections.abc import Mapping

from dev.errors import DevError
from dev.files import ROOT
from dev.ports import DEFAULTS
from dev.services import Services

DOTENV = ROOT / ".env"

# .env has them for other servers, such as production's: development in this folder must not change
# those. The shell may still set them.
OF_OTHERS = {"DATABASE_URL", "DATABASE_PASSWORD", "REDIS_URL", "REDIS_PASSWORD"}


def given_environment() -> dict[str, str]:
    """Return the variables of .env and of the shell, which wins. An empty one counts as not set.

    Where the servers are counts only if the shell says it.
    """
    from dotenv import dotenv_values  # noqa: PLC0415 - some commands run before .venv exists

    values = dotenv_values(stream=io.StringIO(read_dotenv()))
    values = {name: value for name, value in values.items() if name not in OF_OTHERS}
    return {name: value for name, value in {**values, **os.environ}.items() if value}


def read_dotenv() -> str:
    """Return the text of .env, or an empty string if there is no .env."""
    try:
        return DOTENV.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DevError(f"{DOTENV} is not UTF-8 in line {line}. Save it as UTF-8.") from None


def service_environment(given: Mapping[str, str], running: Services) -> dict[str, str]:
    """Return the variables that depend on the running servers. They replace the given ones."""
    port = given.get("PORT", str(DEFAULTS["PORT"]))
    return {
        "ENVIRONMENT": given.get("ENVIRONMENT", "development"),
        "PUBLIC_URL": given.get("PUBLIC_URL", f"http://127.0.0.1:{port}"),
        "DATABASE_URL": running.database_url,
        "DATABASE_OWNER_URL": running.database_owner_url,
        "REDIS_URL": running.redis_url,
        "REDIS_ADMIN_URL": running.redis_admin_url,
        "PORT": port,
        "METRICS_PORT": given.get("METRICS_PORT", str(DEFAULTS["METRICS_PORT"])),
    }
