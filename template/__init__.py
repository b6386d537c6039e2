"""What makes, proves and hands on the template. This folder leaves a clone: see README.md."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
