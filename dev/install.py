"""Makes .venv what requirements-dev.txt says, and does nothing, fast, when it is already.

With uv when it is installed, else with Python's own venv and pip. Run by
dev/bootstrap.py, with the interpreter that .venv is to have.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dev.progress import show_pip

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / ".local"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements-dev.txt"

# What .venv holds: written when all of it is there, or UNFINISHED before it is touched.
STAMP = VENV / ".drydock"
UNFINISHED = "unfinished"

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    """Leave a current .venv, or exit with what to do about it."""
    try:
        if not REQUIREMENTS.exists():
            fail("requirements-dev.txt is missing. It is part of the repository: git checkout requirements-dev.txt")
        if is_current():
            return
        LOCAL.mkdir(exist_ok=True)
        with (LOCAL / "install.lock").open("w") as lock:
            wait_for(lock.fileno())
            if not is_current():  # else the make that we waited for did our work
                install(lock.fileno())
    except KeyboardInterrupt:
        fail("\nInterrupted. The next make starts over with what is downloaded.", code=130)
    except PermissionError as error:
        fail(f"{error}\nIs that from a run as another user, such as with sudo? Give it back: chown -R.")


def wait_for(lock: int) -> None:
    """Take turns with another make. pip and uv inherit the lock: should we be killed, they still hold it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another make is installing packages; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def wanted() -> str:
    """Return the stamp of a .venv that needs nothing."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    return f"{digest} {VERSION} {os.path.realpath(PYTHON)}"


def is_current() -> bool:
    """Whether the last install finished, from these requirements, for this Python, which still exists."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted()


def install(lock: int) -> None:
    """Make or refresh .venv."""
    uv = find_uv()
    if VENV.exists() and (reason := reason_to_rebuild(uv)):
        say(f"making .venv anew: {reason}")
        set_aside()
    if not VENV.exists():
        make_venv(uv, lock)
    STAMP.write_text(UNFINISHED, encoding="utf-8")
    if uv:
        # Exactly what is listed: what isn't is removed.
        command = [uv, "pip", "sync", "--python", PYTHON, "--require-hashes", REQUIREMENTS]
        if subprocess.run(command, check=False, env=environment(), pass_fds=(lock,)).returncode:
            fail("uv could not install the packages; its lines above say why. To try with pip instead: make dev UV=")
    else:
        # pip compiles what it installs, which takes longer than all the rest; Python does it when needed.
        command = [PYTHON, "-m", "pip", "install", "--progress-bar=off", "--no-compile", "--require-hashes", "-r", REQUIREMENTS]
        if not show_pip(command, REQUIREMENTS, environment(), lock):
            fail("pip could not install the packages; its last lines above say why.")
    finished = STAMP.with_suffix(".new")
    finished.write_text(wanted(), encoding="utf-8")
    finished.replace(STAMP)


def find_uv() -> str | None:
    """Return the uv to use. UV= in the environment means none, UV=path that one."""
    chosen = os.environ.get("UV", "uv")
    return shutil.which(chosen) if chosen else None


def reason_to_rebuild(uv: str | None) -> str | None:
    """Say why what is there can't be refreshed, if it can't."""
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == UNFINISHED:
        return "the last install did not finish"
    question = "import sys; print('%d.%d' % sys.version_info[:2])" + ("" if uv else "; import pip")
    try:
        answer = subprocess.run([PYTHON, "-c", question], check=True, capture_output=True, text=True).stdout.strip()
    except OSError:
        return "its Python is gone"
    except subprocess.CalledProcessError:
        return "its Python or its pip does not work"
    return None if answer == VERSION else f"it has Python {answer}, and this is {VERSION}"


def set_aside() -> None:
    """Remove .venv in one step, so that no half of it is ever taken for whole."""
    trash = Path(tempfile.mkdtemp(prefix="old-venv-", dir=LOCAL))
    VENV.rename(trash / "venv")
    for old in LOCAL.glob("old-venv-*"):
        shutil.rmtree(old, ignore_errors=True)


def make_venv(uv: str | None, lock: int) -> None:
    """Create an empty .venv with the Python that runs this."""
    base = base_interpreter()
    if uv:
        command: Sequence[str | Path] = [uv, "venv", "--quiet", "--python", base, VENV]
    elif importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        say(f"making .venv with Python {VERSION} and pip (with uv installed it would take seconds)")
        command = [base, "-m", "venv", VENV]
    else:
        fail(
            f"{sys.executable} can't make virtual environments. Install what it lacks, such as on Debian and Ubuntu:\n"
            f"  apt install python{VERSION}-venv\n"
            "or install uv (https://docs.astral.sh/uv), which needs neither."
        )
    if subprocess.run(command, check=False, env=environment(), pass_fds=(lock,)).returncode:
        fail("The virtual environment could not be made; the lines above say why.")


def base_interpreter() -> str:
    """Return the Python outside of any virtual environment, which .venv may be, and may be about to go."""
    base = Path(sys.base_prefix, "bin", f"python{VERSION}")
    return str(base) if base.exists() else sys.executable


def environment() -> dict[str, str]:
    """Return what uv and pip are told beside their own configuration, which counts: it may name a mirror."""
    told = {"UV_PYTHON_DOWNLOADS": "never", "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if not has_cache_folder():
        told |= {"UV_CACHE_DIR": str(LOCAL / "cache" / "uv"), "PIP_CACHE_DIR": str(LOCAL / "cache" / "pip")}
    return {**told, **os.environ}


def has_cache_folder() -> bool:
    """Whether HOME is set, and can be written to, for uv and pip to keep downloads in."""
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
    if not home:
        return False
    folder = Path(home, ".cache", "uv")
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(nearest, os.W_OK)


def say(text: str) -> None:
    """Print at once, where uv's and pip's own lines go."""
    print(text, file=sys.stderr, flush=True)


def fail(text: str, code: int = 1) -> NoReturn:
    """Exit with a text that says what to do."""
    say(text)
    sys.exit(code)
