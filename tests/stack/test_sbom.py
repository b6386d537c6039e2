"""The bill of materials lists every package of the image, as the image itself knows them."""

import json
import re
from pathlib import Path

from python_on_whales import DockerClient

from tests.stack.images import ONE, Images
from tests.stack.source import run

# `pip list`, without pip: the image has none.
PYTHON = """
import importlib.metadata, json
print(json.dumps([(d.name, d.version) for d in importlib.metadata.distributions()]))
"""


def listed(document: dict[str, object], kind: str) -> set[tuple[str, str]]:
    """Name and version of each package of a kind, from its package URL's type."""
    packages = document["packages"]
    assert isinstance(packages, list)
    return {
        (normal(package["name"]), package["versionInfo"])
        for package in packages
        for reference in package.get("externalRefs", [])
        if reference["referenceLocator"].startswith(f"pkg:{kind}/")
    }


def normal(name: str) -> str:
    """Return a Python package's name as PEP 503 compares it; Debian's are like that already."""
    return re.sub(r"[-_.]+", "-", name).lower()


class TestBillOfMaterials:
    def test_it_lists_what_is_in_it(
        self, docker: DockerClient, source: Path, images: Images
    ) -> None:
        run(["deploy/pipeline/sbom", images.name(ONE)], cwd=source)
        document = json.loads((source / ".pipeline/reports/sbom.spdx.json").read_text())

        said = docker.run(images.name(ONE), ["python", "-c", PYTHON], remove=True)
        inside = {(normal(name), version) for name, version in json.loads(str(said))}
        assert len(inside) > 30
        assert listed(document, "pypi") == inside

        words = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n"]
        said = docker.run(images.name(ONE), words, remove=True)
        system = {
            (normal(name), version) for name, version in map(str.split, str(said).split("\n"))
        }
        assert len(system) > 60
        assert listed(document, "deb") == system
