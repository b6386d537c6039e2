"""What a project may be called. Each rule has its reason, and says so to whoever meets it."""

import keyword
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from dev.errors import DevError
from dev.init.locks import normal

# Postgres, image registries, DNS labels, metrics and Linux accounts agree on no more than this.
FORM = re.compile(r"[a-z][a-z0-9]*")
SHORTEST, LONGEST = 3, 20

# Reserved by Postgres, whose databases and roles are named without quotes here.
SQL = """
    all analyse analyze and any array asc asymmetric both case cast check collate column
    constraint create default deferrable desc distinct end except false fetch foreign from grant
    group having initially intersect into lateral leading limit localtime not null offset only
    order placing primary public references returning select session symmetric table template0
    template1 then trailing true union unique user using variadic when where window
"""

# The image's base has accounts of these names already; the service gets one of its own.
ACCOUNTS = """
    backup bin daemon games irc list lp mail man news nobody proxy root sync sys uucp
"""

EXAMPLE = "A name that works: make init NAME=acmeshop"


class BadName(DevError):
    """The name breaks a rule; the message has the rule and a name that keeps it."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"NAME={name} can't be used: {rule}\n{EXAMPLE}")


def check_name(name: str, dependencies: Iterable[str]) -> None:
    """Raise BadName for a name that is wrong whatever the repository holds."""
    if not FORM.fullmatch(name):
        raise BadName(
            name,
            "it takes lowercase letters and digits, a letter first, and no hyphen or underscore.\n"
            "The same word names a database, an image, a host, a metric and a token's prefix.",
        )
    if not SHORTEST <= len(name) <= LONGEST:
        raise BadName(
            name,
            f"it takes {SHORTEST} to {LONGEST} characters and has {len(name)}.\n"
            "What is added to it has to fit into the 32 of an account and the 63 of a host.",
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in sys.stdlib_module_names:
        raise BadName(name, "it is a word or a module of Python.")
    if name in SQL.split():
        raise BadName(name, "it is a reserved word of Postgres, and the database gets this name.")
    if name in ACCOUNTS.split():
        raise BadName(name, "it is a system account, and the image makes one of this name.")
    if name in map(normal, dependencies):
        raise BadName(name, "it is a package that this project depends on.")


def check_unused(name: str, texts: Mapping[PurePosixPath, str]) -> None:
    """Raise BadName for a name that stands in the repository and means something else there.

    A later rename could not tell the two apart. Examples of this very command don't count.
    """
    example = re.compile(rf"NAME={name}\b")
    places = [
        f"  {path}:{number}: {line.strip()[:80]}"
        for path, text in texts.items()
        if name in text.lower()
        for number, line in enumerate(text.splitlines(), 1)
        if name in example.sub("", line).lower()
    ]
    places += [f"  {path}" for path in texts if name in str(path).lower()]
    if places:
        more = f"\n  and {len(places) - 3} more" if len(places) > 3 else ""  # noqa: PLR2004 - enough to see
        raise BadName(
            name,
            "the word is in use here already, and a later rename could not tell the two apart:\n"
            + "\n".join(places[:3])
            + more,
        )


def spelled_like(found: str, name: str) -> str:
    """Return the name in the letter case of what it replaces."""
    if found.islower():
        return name
    return name.upper() if found.isupper() else name.capitalize()
