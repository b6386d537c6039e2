"""Makes and tests the template. `make init` removes this folder from a clone: see README.md."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
