"""The rules for the name of a project. A refusal names the rule and its reason."""

import keyword
import re
import sys
from collections.abc import Iterable

from template.init.tree import Refused

# Postgres, image registries, DNS labels, metrics and Linux accounts all allow this.
FORM = re.compile(r"[a-z][a-z0-9]*")
SHORTEST, LONGEST = 3, 20

# Reserved words of Postgres. The service writes names of databases and roles without quotes.
SQL = """
    all analyse analyze and any array asc asymmetric both case cast check collate column
    constraint create default deferrable desc distinct end except false fetch foreign from grant
    group having initially intersect into lateral leading limit localtime not null offset only
    order placing primary public references returning select session symmetric table template0
    template1 then trailing true union unique user using variadic when where window
"""

# The base of the image has these accounts. The service gets an account with its name.
ACCOUNTS = """
    backup bin daemon games irc list lp mail man news nobody proxy root sync sys uucp
"""

# Names that are in use here: services of compose.yaml, folders, a database of every Postgres.
PARTS = """
    app bench caddy deploy dev docs health infra migrate migrations postgres sample template tests
    tokens worker
"""


def check_name(name: str, dependencies: Iterable[str]) -> None:
    """Raise Refused with the rule if the name breaks one."""
    packages = {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in dependencies}
    if not FORM.fullmatch(name):
        rule = (
            "it takes lowercase letters and digits, a letter first, and no hyphen or underscore.\n"
            "The same word names a database, an image, a host, a metric and a token's prefix."
        )
    elif not SHORTEST <= len(name) <= LONGEST:
        rule = (
            f"it takes {SHORTEST} to {LONGEST} characters and has {len(name)}.\n"
            "With what is added to it, it must fit into the 32 of an account and the 63 of a host."
        )
    elif keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in sys.stdlib_module_names:
        rule = "it is a word or a module of Python."
    elif name in SQL.split():
        rule = "it is a reserved word of Postgres, and the database gets this name."
    elif name in ACCOUNTS.split():
        rule = "it is a system account, and the image makes an account with this name."
    elif name in packages:
        rule = "it is a package that this project depends on."
    elif name in PARTS.split():
        rule = "a part of this repository has this name."
    else:
        return
    raise Refused(f"NAME={name} can't be used: {rule}\nA name that works: make init NAME=acmeshop")


def spelled_like(found: str, name: str) -> str:
    """Return the name in the letter case of the text that it replaces."""
    if found.islower():
        return name
    return name.upper() if found.isupper() else name.capitalize()
