"""The manifests of deploy/kubernetes, as kustomize renders them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.live import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(folder.name for folder in (FOLDER / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (FOLDER / "components").iterdir())

Manifest = dict[str, Any]


def render(folder: Path) -> str:
    """What `deploy/kubernetes/release` gives to kubectl, before it names the image."""
    words = ["kubectl", "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(folder)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def load(text: str) -> list[Manifest]:
    return list(yaml.safe_load_all(text))


def settings(overlay: str) -> dict[str, str]:
    lines = (FOLDER / "overlays" / overlay / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The specification of each kind of pod, by the name of what makes it."""
    for manifest in manifests:
        template = manifest.get("spec", {}).get("template")
        if template:
            yield manifest["metadata"]["name"], template["spec"]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found
