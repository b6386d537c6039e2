"""Makes .venv what requirements-dev.txt says. Whether there is anything to do: dev/stamp.py.

With the machine's uv if it has one. Else Python's own venv and pip make .venv and bring
uv into it, or, where that can't be, install everything themselves. Run by
dev/bootstrap.py, with the interpreter that .venv is to have.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dev.errors import DevError, ForeignFileError
from dev.files import make_folder, open_lock, try_lock
from dev.progress import show_pip
from dev.stamp import (
    PYTHON,
    REQUIREMENTS,
    ROOT,
    STAMP,
    UNFINISHED,
    VENV,
    VERSION,
    is_current,
    stamp,
    wanted,
)

LOCAL = ROOT / ".local"
PIP = (str(PYTHON), "-m", "pip")


def main() -> None:
    """Leave a .venv that is current, or exit with what to do about it."""
    try:
        bring_up_to_date()
    except DevError as error:
        leave(str(error))
    except PermissionError as error:
        leave(str(ForeignFileError(error)))
    except KeyboardInterrupt:
        leave("\nInterrupted. The next make starts over with what is downloaded.", code=130)


def bring_up_to_date() -> None:
    """Install, unless another make is doing it: then wait."""
    if not REQUIREMENTS.exists():
        raise DevError("requirements-dev.txt is missing: git checkout requirements-dev.txt")
    make_folder(LOCAL)
    # Not closed before the end.
    lock = open_lock(LOCAL / "install.lock")
    if not try_lock(lock):
        say("another make is installing packages; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    if not is_current():  # the make that we waited for may have done our work
        install(lock)


def install(lock: int) -> None:
    """Make or refresh .venv."""
    if VENV.exists() and (reason := reason_to_rebuild()):
        say(f"making .venv anew: {reason}")
        set_aside()
    if not VENV.exists():
        make_venv(lock)
    STAMP.write_text(UNFINISHED, encoding="utf-8")
    if uv := find_uv():
        if not sync(uv, lock):
            raise DevError("uv could not install the packages. To try with pip: make dev UV=")
    elif not ((uv := fetch_uv(lock)) and sync(uv, lock)):
        install_with_pip(lock)
    finished = STAMP.with_suffix(".new")
    finished.write_text(wanted(), encoding="utf-8")
    finished.replace(STAMP)


def find_uv() -> Path | None:
    """Return the uv of this machine. UV= in the environment means none, UV=path that one."""
    chosen = os.environ.get("UV", "uv")
    found = shutil.which(chosen) if chosen else None
    return Path(found) if found else None


def fetch_uv(lock: int) -> Path | None:
    """Let pip bring the locked uv into .venv: it installs the rest in a tenth of pip's time.

    None when it is not wanted (UV=), not locked, or could not know where packages come
    from, because pip is configured for a mirror.
    """
    locked = re.search(r"^uv==.*(?:\n .*)*", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    if not locked or os.environ.get("UV") == "":
        return None
    configured = run([*PIP, "config", "list"], lock, stdout=subprocess.PIPE).stdout
    if re.search(rb"\.index-url=", configured):
        return None
    say("fetching uv, to install the packages with")
    only = LOCAL / "requirements-uv.txt"
    only.write_text(locked[0], encoding="utf-8")
    options = ["--quiet", "--no-deps", "--require-hashes", "-r", str(only)]
    failed = run([*PIP, "install", *options], lock).returncode
    only.unlink()
    return None if failed else VENV / "bin" / "uv"


def sync(uv: Path, lock: int) -> bool:
    """Install exactly what is listed, remove what isn't, and say whether that went well."""
    # Compiled by all cores at once: else the first `make test` does it in each of its processes.
    options = ["--compile-bytecode", "--python", str(PYTHON), "--require-hashes", str(REQUIREMENTS)]
    return run([uv, "pip", "sync", *options], lock).returncode == 0


def install_with_pip(lock: int) -> None:
    """Install what is listed, the slow way."""
    # Compiling all modules takes longer than all the rest; Python does it when needed.
    options = ["--no-compile", "--progress-bar=off", "--require-hashes", "-r", str(REQUIREMENTS)]
    if not show_pip([*PIP, "install", *options], REQUIREMENTS, environment(), lock):
        raise DevError("pip could not install the packages; its last lines are above.")


def run(
    command: Sequence[str | Path], lock: int, stdout: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run uv or pip, which inherit the lock: should we be killed, they still hold it."""
    return subprocess.run(command, check=False, stdout=stdout, env=environment(), pass_fds=(lock,))


def reason_to_rebuild() -> str | None:
    """Say why what is there can't be refreshed, if it can't."""
    if stamp() == UNFINISHED:
        return "the last install did not finish"
    needs = "sys" if find_uv() else "sys, pip"
    question = f"import {needs}; print('%d.%d' % sys.version_info[:2])"
    try:
        check = subprocess.run([PYTHON, "-c", question], check=True, capture_output=True, text=True)
    except OSError:
        return "its Python is gone"
    except subprocess.CalledProcessError:
        return "its Python or its pip does not work"
    version = check.stdout.strip()
    return None if version == VERSION else f"it has Python {version}, and this is {VERSION}"


def set_aside() -> None:
    """Remove .venv in one step, so that no half of it is ever taken for whole."""
    trash = Path(tempfile.mkdtemp(prefix="old-venv-", dir=LOCAL))
    VENV.rename(trash / "venv")
    for old in LOCAL.glob("old-venv-*"):
        shutil.rmtree(old, ignore_errors=True)


def make_venv(lock: int) -> None:
    """Create an empty .venv with the Python that runs this."""
    base = base_interpreter()
    say(f"making .venv with Python {VERSION}")
    command: list[str | Path]
    if uv := find_uv():
        command = [uv, "venv", "--quiet", "--python", base, VENV]
    elif importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        command = [base, "-m", "venv", VENV]
    else:
        raise DevError(
            f"{sys.executable} lacks what makes virtual environments. On Debian and Ubuntu:\n"
            f"  apt install python{VERSION}-venv\n"
            "or install uv (https://docs.astral.sh/uv), which can do without."
        )
    if run(command, lock).returncode:
        raise DevError("The virtual environment could not be made; the lines above say why.")


def base_interpreter() -> str:
    """Return the Python outside of any virtual environment: .venv may be one, and about to go."""
    base = Path(sys.base_prefix, "bin", f"python{VERSION}")
    return str(base) if base.exists() else sys.executable


def environment() -> dict[str, str]:
    """Return what uv and pip are told on top of their own configuration, such as a mirror."""
    told = {"UV_PYTHON_DOWNLOADS": "never", "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if has_certificates():
        # Behind a company's proxy only the system's certificates do. The second name is an
        # older uv's.
        told |= {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    if not has_cache_folder():
        cache = LOCAL / "cache"
        told |= {"UV_CACHE_DIR": str(cache / "uv"), "PIP_CACHE_DIR": str(cache / "pip")}
    return {**told, **os.environ}


def has_certificates() -> bool:
    """Whether the system keeps certificates where programs look; a bare container may not."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())))


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


def leave(text: str, code: int = 1) -> NoReturn:
    """Exit with a text that says what to do."""
    say(text)
    sys.exit(code)
