"""Addresses as people really write them: out of the text files of this machine."""

import os
import re
import sysconfig
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

# Whatever follows up to the next space: closing brackets, quotes, markup, bytes of other encodings.
ADDRESS = re.compile(rb"[hH][tT][tT][pP][sS]?://[^\s]+")
PLACES = ("/usr/share/doc", sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"))
NO_TEXT = {".so", ".pyc", ".gz", ".png", ".exe", ".zip"}
FROM_ONE_FILE = 300  # so that no change log outweighs all the rest
LONGEST_FILE = 1_000_000  # bytes

# RFC 3986, the brackets that browsers take beyond it, and no more than a host's name needs.
# Written anew here: the test of a rule can't be the rule's own code.
PLAIN = re.compile(
    rb"https?://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,18}(:[1-9][0-9]{0,3})?"
    rb"([/?#]([A-Za-z0-9._~!$&'()*+,;=:@/?#[\]{}|^-]|%[0-9A-Fa-f]{2})*)?",
)
NEVER = re.compile(rb'[\x00-\x20\x7f"<>\\`]|^[^/]*//[^/?#]*@|^[^/]*//([/?#:]|$)')


def harvest(most: int) -> list[bytes]:
    """Distinct addresses, as many as there are up to `most`."""
    found: dict[bytes, None] = {}
    for path in chain.from_iterable(map(_files, PLACES)):
        with path.open("rb") as file:
            addresses = ADDRESS.findall(file.read(LONGEST_FILE))
        found.update(dict.fromkeys(addresses[:FROM_ONE_FILE]))
        if len(found) >= most:
            break
    return list(found)[:most]


def _files(place: str) -> Iterator[Path]:
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            if path.suffix not in NO_TEXT and path.is_file() and os.access(path, os.R_OK):
                yield path


def is_plain(address: bytes) -> bool:
    """Beyond doubt an address that every browser takes."""
    return len(address) <= 2048 and PLAIN.fullmatch(address) is not None


def is_refused(address: bytes) -> bool:
    """Beyond doubt none that may be stored: for a header, for a password in it."""
    try:
        address.decode()
    except UnicodeDecodeError:
        return True
    return len(address) > 2048 or NEVER.search(address) is not None
