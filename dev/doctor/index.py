"""The package index: whichever pip or uv are configured for, so none is named here."""

import shutil
import subprocess
import sys
import tempfile

from dev.doctor.findings import Findings, Machine, bad, note, ok
from dev.install import environment
from dev.stamp import PYTHON, is_current

SECONDS = 5  # for the whole question: retries included, and a proxy that swallows it
SOCKET_SECONDS = 3

# Needs nothing itself, and everything needs it: pip fetches 50 kB to see that it is there.
PACKAGE = "typing-extensions"


def check_index(machine: Machine) -> Findings:
    """Whether the packages could be fetched. They are there already more often than not."""
    command = question(machine)
    if command is None:
        yield note("packages", "neither pip nor uv is here to ask the package index")
        return
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                input=PACKAGE,
                cwd=nowhere,
                env=bounded(machine),
            )
        except subprocess.TimeoutExpired:
            fault = f"no answer within {SECONDS} s"
        else:
            if done.returncode == 0:
                yield ok("index", "the package index answers")
                return
            fault = last_words(done.stderr)
    told = note if is_current() else bad
    yield told(
        "index",
        f"the package index can't be reached: {fault}",
        "check the network and its proxy (HTTPS_PROXY); behind a mirror set PIP_INDEX_URL, or\n"
        "UV_DEFAULT_INDEX for uv" + ("; .venv is complete all the same" if told is note else ""),
    )


def question(machine: Machine) -> list[str] | None:
    """Return what asks the index for PACKAGE, told on standard input where that is the way."""
    uv = shutil.which(machine.environment.get("UV", "uv") or "nothing")
    if uv:
        return [uv, "pip", "compile", "--no-deps", "--no-cache", "--quiet", "-"]
    for python in (str(PYTHON), sys.executable):
        if has_pip(python):
            options = ["--no-deps", "--no-cache-dir", "--quiet", "--retries", "0", "--dest", "."]
            return [python, "-m", "pip", "download", *options, PACKAGE]
    return None


def has_pip(python: str) -> bool:
    """Whether this Python is there and can run pip."""
    try:
        asked = subprocess.run([python, "-c", "import pip"], check=False, capture_output=True)
    except OSError:
        return False
    return asked.returncode == 0


def bounded(machine: Machine) -> dict[str, str]:
    """Return what the installing itself is told, but impatient."""
    seconds = str(SOCKET_SECONDS)
    impatient = {"UV_HTTP_TIMEOUT": seconds, "UV_HTTP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": seconds}
    return {**environment(), **machine.environment, **impatient}


def last_words(text: str) -> str:
    """Return the last line that says something, without what it stands in."""
    lines = [line.strip(" │╰─▶├\u00d7") for line in text.splitlines() if line.strip()]
    return lines[-1][:160] if lines else "no word why"
