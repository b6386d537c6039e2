"""Installs the packages of requirements-dev.txt in .venv.

It uses the machine's uv. If there is none, pip first installs the locked uv, which is ten times
faster than pip. If that fails, pip installs everything. bootstrap.py runs this with the Python that
.venv will have.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dev.errors import DevError
from dev.files import LOCAL, ROOT, make_folder, open_lock, try_lock

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
REQUIREMENTS = ROOT / "requirements-dev.txt"
# Contains what the last install was made for (see `wanted`), or UNFINISHED.
STAMP = VENV / ".installed"
UNFINISHED = "unfinished"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def is_current() -> bool:
    """Whether the last install finished, and was for this Python, this folder and this lock."""
    return is_runnable() and REQUIREMENTS.exists() and stamp() == wanted()


def is_runnable() -> bool:
    """Whether this user can run the Python of .venv. It may be gone, or in another user's home."""
    return os.access(PYTHON, os.X_OK)


def wanted() -> list[str]:
    """Return the stamp of a current .venv: hash of the lock, Python, folder."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    # The real path, so that a .venv that is a link to another one does not look moved.
    return [digest, f"{VERSION} {os.path.realpath(PYTHON)}", os.path.realpath(VENV)]


def stamp() -> list[str]:
    return STAMP.read_text(encoding="utf-8").splitlines() if STAMP.exists() else []


def install() -> None:
    """Bring .venv up to date. If another make is installing, wait for it."""
    if not REQUIREMENTS.exists():
        raise DevError("requirements-dev.txt is missing: git checkout requirements-dev.txt")
    make_folder(LOCAL)
    lock = open_lock(LOCAL / "install.lock")  # held until we end
    if not try_lock(lock):
        say("another make is installing packages; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    if is_current():
        return
    if VENV.exists() and (reason := reason_to_rebuild()):
        say(f"making .venv again: {reason}")
        # The rename is atomic, so an interrupted removal leaves no broken .venv.
        trash = LOCAL / "old-venv"
        shutil.rmtree(trash, ignore_errors=True)
        VENV.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
    if not VENV.exists():
        make_venv()
    STAMP.write_text(UNFINISHED, encoding="utf-8")
    if uv := find_uv() or fetch_uv():
        # uv compiles with all cores. Else each process of the first `make test` would compile.
        command = [uv, "pip", "sync", "--compile-bytecode", "--python", str(PYTHON)]
        remedy = " To try with pip: make dev UV="
    else:
        # Without --no-deps, pip asks for hashes of extras. The lock has them under the plain name.
        command = [*PIP, "install", "--no-deps", "--requirement"]
        remedy = ""
    if not run([*command, str(REQUIREMENTS), "--require-hashes"]):
        raise DevError(f"The packages could not be installed; the lines above say why.{remedy}")
    STAMP.write_text("\n".join(wanted()), encoding="utf-8")


def reason_to_rebuild() -> str | None:
    found = stamp()
    if found == [UNFINISHED]:
        return "the last install did not finish"
    if not is_runnable():
        return "its Python is gone, or closed to this user"
    if found and found[1:2] != wanted()[1:2]:
        return f"it has another Python than this {VERSION}"
    return "the clone was moved or copied" if found and found[2:] != wanted()[2:] else None


def make_venv() -> None:
    """Create an empty .venv with the Python that runs this."""
    say(f"making .venv with Python {VERSION}")
    # The Python of the old .venv may run this, and that .venv was removed.
    base = Path(sys.base_prefix, "bin", f"python{VERSION}")
    python = str(base if base.exists() else sys.executable)
    if uv := find_uv():
        made = run([uv, "venv", "--quiet", "--python", python, str(VENV)])
    elif importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        made = run([python, "-m", "venv", str(VENV)])
    else:
        raise DevError(
            f"{sys.executable} lacks the module venv. On Debian and Ubuntu:\n"
            f"  apt install python{VERSION}-venv\n"
            "or install uv (https://docs.astral.sh/uv), which does not need it."
        )
    if not made:
        raise DevError("The virtual environment could not be made; the lines above say why.")


def find_uv() -> str | None:
    """Return this machine's uv. UV=path in the environment chooses one, and UV= means none."""
    chosen = os.environ.get("UV", "uv")
    return shutil.which(chosen) if chosen else None


def fetch_uv() -> str | None:
    """Install the locked uv in .venv with pip, and return its path.

    None if UV= forbids it, if it fails, or if pip has a mirror configured, which uv would not use.
    """
    locked = re.search(r"^uv==.*(?:\n .*)*", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    configured = subprocess.run([*PIP, "config", "list"], check=False, capture_output=True).stdout
    if not locked or os.environ.get("UV") == "" or b".index-url=" in configured:
        return None
    say("installing uv, which installs the packages")
    only = LOCAL / "requirements-uv.txt"
    only.write_text(locked[0], encoding="utf-8")
    fetched = run([*PIP, "install", "--quiet", "--require-hashes", "--requirement", str(only)])
    return str(VENV / "bin" / "uv") if fetched else None


def run(command: Sequence[str]) -> bool:
    """Run uv or pip, and return whether it succeeded."""
    extra = {"UV_PYTHON_DOWNLOADS": "never", "PIP_USER": "0"}
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())):
        # Behind a company's proxy, only the system's certificates work.
        extra["UV_SYSTEM_CERTS"] = "1"
    if not os.access(Path("~").expanduser(), os.W_OK):  # no cache can be written there
        extra |= {
            "UV_CACHE_DIR": str(LOCAL / "cache/uv"),
            "PIP_CACHE_DIR": str(LOCAL / "cache/pip"),
        }
    return subprocess.run(command, check=False, env={**extra, **os.environ}).returncode == 0


def say(text: str) -> None:
    """Print at once to standard error, as uv and pip do."""
    print(text, file=sys.stderr, flush=True)
