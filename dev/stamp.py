"""What .venv holds, and whether that is still what is wanted.

Apart from dev/install.py because every make asks, and the answer is nearly always yes:
this imports little.
"""

import hashlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements-dev.txt"

# Written when everything is there, or UNFINISHED before anything is touched.
STAMP = VENV / ".drydock"
UNFINISHED = "unfinished"

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def is_current() -> bool:
    """Whether the last install finished, from these requirements, for a Python that is there."""
    return PYTHON.exists() and REQUIREMENTS.exists() and stamp() == wanted()


def wanted() -> str:
    """Return the stamp of a .venv that needs nothing."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    return f"{digest} {VERSION} {os.path.realpath(PYTHON)}"


def stamp() -> str:
    """Return what .venv says it holds."""
    return STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
