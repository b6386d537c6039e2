"""Prints a bill of materials with one entry, the Python that runs this script, in CycloneDX.

No package manager installed the official image's Python, so a scanner does not see it. The
Dockerfile writes this bill into the image, where trivy finds it. trivy's database knows CPython
only as Bitnami's package, hence the purl. deploy/pipeline/sbom replaces it with CPython's own.
"""

import json
import platform

version = platform.python_version()
component = {
    "type": "application",
    "bom-ref": "python",
    "name": "python",
    "version": version,
    "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
    "purl": f"pkg:bitnami/python@{version}",
}
document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": [component]}
print(json.dumps(document))
