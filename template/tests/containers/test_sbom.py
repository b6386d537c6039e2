"""The bill of materials lists every package of the image, as the image itself knows them."""

import json
import re
from pathlib import Path

from python_on_whales import DockerClient

from tests.stack.images import ONE, Images
from tests.stack.source import run

# `pip list`: the image has no pip.
PYTHON = """
import importlib.metadata
for dist in importlib.metadata.distributions():
    print(dist.name, dist.version)
"""
INTERPRETER = ["python", "-c", "import platform; print('python', platform.python_version())"]
DEBIAN = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n"]


def normal(name: str) -> str:
    """Return a Python package's name as PEP 503 compares it; Debian's are like that already."""
    return re.sub(r"[-_.]+", "-", name).lower()


class TestBillOfMaterials:
    def test_it_lists_what_is_in_it(
        self, docker: DockerClient, source: Path, images: Images
    ) -> None:
        run(["deploy/pipeline/sbom", images.name(ONE)], cwd=source)
        document = json.loads((source / ".pipeline/reports/sbom.spdx.json").read_text())
        assert "bitnami" not in json.dumps(document)
        for kind, least, command in (
            ("pypi", 30, ["python", "-c", PYTHON]),
            ("deb", 60, DEBIAN),
            ("generic", 0, INTERPRETER),
        ):
            listed = {
                (normal(package["name"]), package["versionInfo"])
                for package in document["packages"]
                for reference in package.get("externalRefs", [])
                if reference["referenceLocator"].startswith(f"pkg:{kind}/")
            }
            said = str(docker.run(images.name(ONE), command, remove=True))
            inside = {(normal(name), version) for name, version in map(str.split, said.split("\n"))}
            assert len(inside) > least
            assert listed == inside
