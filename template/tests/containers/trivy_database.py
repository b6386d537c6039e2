"""A small vulnerability database for trivy, so that a test decides what trivy finds.

The real one comes from a registry and has a million entries. The file is a bolt database
(go.etcd.io/bbolt): here two meta pages, an empty list of free pages and one leaf page, with every
bucket written inline.
"""

import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

PAGE = 4096
MAGIC = 0xED0CDAED
META, LEAF, FREE = 0x04, 0x02, 0x10  # flags of pages
BUCKET = 1  # flag of a leaf's element
ROOT = 3  # the page of the outermost bucket
PACKAGES = "pip::GitHub Security Advisory pip"
INTERPRETERS = "bitnami::Bitnami Vulnerability Database"

Tree = Mapping[str, "Tree | bytes"]


class Planted(NamedTuple):
    """A vulnerability of every version of a package below the one that fixes it."""

    id: str
    package: str
    severity: str = "CRITICAL"
    fixed: str = "999.0"  # empty: no fix
    of: str = PACKAGES

    @property
    def source(self) -> str:
        """Return whose severity counts."""
        return "bitnami" if self.of == INTERPRETERS else "ghsa"


# The real database knows many.
OLD_PYTHON = Planted("CVE-2001-0001", "python", fixed="3.0.1", of=INTERPRETERS)


def checksum(data: bytes) -> int:
    """Return FNV-1a, 64 bits, as bolt's meta pages carry it."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def page(number: int, flags: int, count: int, body: bytes) -> bytes:
    pages = -(-(16 + len(body)) // PAGE)
    head = struct.pack("<QHHI", number, flags, count, pages - 1)
    return (head + body).ljust(pages * PAGE, b"\0")


def elements(tree: Tree) -> bytes:
    """Write what a leaf page holds behind its head; keys in order, as bolt looks for them."""
    index, data = b"", b""
    for place, (key, value) in enumerate(sorted(tree.items())):
        inline = value if isinstance(value, bytes) else bucket(value)
        flags = 0 if isinstance(value, bytes) else BUCKET
        name = key.encode()
        offset = 16 * (len(tree) - place) + len(data)
        index += struct.pack("<IIII", flags, offset, len(name), len(inline))
        data += name + inline
    return index + data


def bucket(tree: Tree) -> bytes:
    """Write a bucket into its parent's value: page 0 says that it has no page of its own."""
    return struct.pack("<QQ", 0, 0) + struct.pack("<QHHI", 0, LEAF, len(tree), 0) + elements(tree)


def bolt(tree: Tree) -> bytes:
    root = page(ROOT, LEAF, len(tree), elements(tree))
    last = ROOT + len(root) // PAGE

    def meta(number: int) -> bytes:
        body = struct.pack("<IIIIQQQQQ", MAGIC, 2, PAGE, 0, ROOT, 0, 2, last, number)
        return page(number, META, 0, body + struct.pack("<Q", checksum(body)))

    return meta(0) + meta(1) + page(2, FREE, 0, b"") + root


def document(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def write_database(
    cache: Path,
    *planted: Planted,
    age: timedelta = timedelta(),
    always: tuple[Planted, ...] = (OLD_PYTHON,),
) -> dict[str, str]:
    """Write the database; return the environment that makes trivy use it without an update."""
    planted += always
    advisories: dict[str, dict[str, dict[str, bytes]]] = {PACKAGES: {}, INTERPRETERS: {}}
    for found in planted:
        advisories[found.of].setdefault(found.package, {})[found.id] = document(
            VulnerableVersions=[f"< {found.fixed}" if found.fixed else ">= 0"],
            PatchedVersions=[found.fixed] if found.fixed else [],
        )
    severities = {"CRITICAL": 4, "HIGH": 3, "MEDIUM": 2, "LOW": 1}
    tree: Tree = {
        "data-source": {
            PACKAGES: document(ID="ghsa", Name=PACKAGES, URL="https://example.com"),
            INTERPRETERS: document(ID="bitnami", Name=INTERPRETERS, URL="https://example.com"),
        },
        **advisories,
        "vulnerability": {
            found.id: document(
                Title="planted",
                Severity=found.severity,
                VendorSeverity={found.source: severities[found.severity]},
            )
            for found in planted
        },
    }
    folder = cache / "db"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trivy.db").write_bytes(bolt(tree))
    made = datetime.now(UTC) - age
    times = {"UpdatedAt": made, "DownloadedAt": made, "NextUpdate": made + timedelta(hours=24)}
    (folder / "metadata.json").write_bytes(
        document(Version=2, **{name: time.isoformat() for name, time in times.items()})
    )
    return {"TRIVY_CACHE_DIR": str(cache), "TRIVY_SKIP_DB_UPDATE": "true"}
