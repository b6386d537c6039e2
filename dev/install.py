"""Makes .venv hold what requirements-dev.txt lists.

The machine's uv does that, or else pip fetches the locked uv first: it is ten times faster. pip
alone is the third way. bootstrap.py runs this with the Python that .venv is to have.
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
# Says for what the last install was, or UNFINISHED.
STAMP = VENV / ".installed"
UNFINISHED = "unfinished"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def is_current() -> bool:
    """Whether the last install finished, with this Python, for this folder and this lock."""
    return PYTHON.exists() and REQUIREMENTS.exists() and stamp() == wanted()


def wanted() -> list[str]:
    """Return the stamp of a .venv that needs nothing: the lock, the Python, the folder."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    # A .venv that is a link to another clone's is not one that was moved.
    return [digest, f"{VERSION} {os.path.realpath(PYTHON)}", os.path.realpath(VENV)]


def stamp() -> list[str]:
    return STAMP.read_text(encoding="utf-8").splitlines() if STAMP.exists() else []


def install() -> None:
    """Leave a .venv that is current. Another make that is at it is waited for."""
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
        say(f"making .venv anew: {reason}")
        # Moved away in one step, so that no half of it is ever taken for whole.
        trash = LOCAL / "old-venv"
        shutil.rmtree(trash, ignore_errors=True)
        VENV.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
    if not VENV.exists():
        make_venv()
    STAMP.write_text(UNFINISHED, encoding="utf-8")
    if uv := find_uv() or fetch_uv():
        # Compiled by all cores now, else by each process of the first `make test`.
        command = [uv, "pip", "sync", "--compile-bytecode", "--python", str(PYTHON)]
        remedy = " To try with pip: make dev UV="
    else:
        # Without --no-deps pip asks for hashes of extras, which the lock has under the plain name.
        command = [*PIP, "install", "--no-deps", "--requirement"]
        remedy = ""
    if not run([*command, str(REQUIREMENTS), "--require-hashes"]):
        raise DevError(f"The packages could not be installed; the lines above say why.{remedy}")
    STAMP.write_text("\n".join(wanted()), encoding="utf-8")


def reason_to_rebuild() -> str | None:
    found = stamp()
    if found == [UNFINISHED]:
        return "the last install did not finish"
    if not PYTHON.exists():
        return "its Python is gone"
    if found and found[1:2] != wanted()[1:2]:
        return f"it has another Python than this {VERSION}"
    return "the clone was moved or copied" if found and found[2:] != wanted()[2:] else None


def make_venv() -> None:
    """Create an empty .venv with the Python that runs this."""
    say(f"making .venv with Python {VERSION}")
    # .venv itself may be what runs this, and be gone by now.
    base = Path(sys.base_prefix, "bin", f"python{VERSION}")
    python = str(base if base.exists() else sys.executable)
    if uv := find_uv():
        made = run([uv, "venv", "--quiet", "--python", python, str(VENV)])
    elif importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        made = run([python, "-m", "venv", str(VENV)])
    else:
        raise DevError(
            f"{sys.executable} lacks what makes virtual environments. On Debian and Ubuntu:\n"
            f"  apt install python{VERSION}-venv\n"
            "or install uv (https://docs.astral.sh/uv), which can do without."
        )
    if not made:
        raise DevError("The virtual environment could not be made; the lines above say why.")


def find_uv() -> str | None:
    """Return the uv of this machine. UV= in the environment means none, UV=path that one."""
    chosen = os.environ.get("UV", "uv")
    return shutil.which(chosen) if chosen else None


def fetch_uv() -> str | None:
    """Let pip bring the locked uv into .venv. None if that is not wanted or fails.

    Not where pip is configured for a mirror, which uv would not know.
    """
    locked = re.search(r"^uv==.*(?:\n .*)*", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    configured = subprocess.run([*PIP, "config", "list"], check=False, capture_output=True).stdout
    if not locked or os.environ.get("UV") == "" or b".index-url=" in configured:
        return None
    say("fetching uv, to install the packages with")
    only = LOCAL / "requirements-uv.txt"
    only.write_text(locked[0], encoding="utf-8")
    fetched = run([*PIP, "install", "--quiet", "--require-hashes", "--requirement", str(only)])
    return str(VENV / "bin" / "uv") if fetched else None


def run(command: Sequence[str]) -> bool:
    """Run uv or pip, and return whether it succeeded."""
    told = {"UV_PYTHON_DOWNLOADS": "never", "PIP_USER": "0"}
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())):
        # Behind a company's proxy only the system's certificates are right.
        told["UV_SYSTEM_CERTS"] = "1"
    if not os.access(Path("~").expanduser(), os.W_OK):  # no place for a cache
        told |= {"UV_CACHE_DIR": str(LOCAL / "cache/uv"), "PIP_CACHE_DIR": str(LOCAL / "cache/pip")}
    return subprocess.run(command, check=False, env={**told, **os.environ}).returncode == 0


def say(text: str) -> None:
    """Print at once, where the lines of uv and pip go."""
    print(text, file=sys.stderr, flush=True)
