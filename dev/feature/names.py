"""The names of a new feature: many (`invoices`), one (`invoice`), and the forms of both."""

import keyword
import re
from dataclasses import dataclass

from starlette.routing import Route

from app.infra.db import Base
from app.registry import FEATURES
from dev.errors import DevError
from dev.feature.fields import LONGEST_NAME, camel
from dev.files import ROOT

NAME = re.compile(rf"[a-z](?:_?[a-z0-9]){{1,{LONGEST_NAME - 1}}}")
# The end of many, and that of one.
ENDINGS = (
    *(("people", "person"), ("children", "child"), ("women", "woman"), ("men", "man")),
    *(("movies", "movie"), ("cookies", "cookie"), ("caches", "cache"), ("ies", "y")),
    *(("statuses", "status"), ("buses", "bus"), ("bonuses", "bonus"), ("aliases", "alias")),
    *(("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", "")),
)
SAME = ("ss", "us", "is", "series", "species", "news")


@dataclass(frozen=True)
class Names:
    """`things` is the package and the table, `thing` one of them."""

    things: str
    thing: str

    @property
    def path(self) -> str:
        return self.things.replace("_", "-")

    @property
    def words(self) -> str:
        return self.things.replace("_", " ")

    @property
    def word(self) -> str:
        return self.thing.replace("_", " ")

    @property
    def cls(self) -> str:
        return camel(self.thing)

    @property
    def article(self) -> str:
        return "an" if re.match(r"(?!uni|use|eu|one)[aeiou]", self.thing) else "a"


def choose_names(things: str, singular: str) -> Names:
    """The names for NAME and SINGULAR. Raises `DevError`, which names the remedy."""
    for variable, value in (("NAME", things), ("SINGULAR", singular or "thing")):
        if not NAME.fullmatch(value) or len(value) > LONGEST_NAME:
            raise DevError(
                f"{variable}={value}: choose a word in snake_case with at most {LONGEST_NAME} "
                "characters, such as invoices or line_items."
            )
        if keyword.iskeyword(value):
            raise DevError(f"{variable}={value} is a word of Python. Choose another.")
    one = singular or one_of(things)
    if one == things:
        raise DevError(
            f"NAME={things}: a plural is needed. Say what one of them is called: SINGULAR=…"
        )
    if (ROOT / "app/features" / things).exists() or (ROOT / "tests/features" / things).exists():
        raise DevError(f"NAME={things}: there is a feature of this name. Choose another.")
    names = Names(things, one)
    _refuse_taken(names)
    return names


def one_of(things: str) -> str:
    """The singular, or the same word if nobody can tell."""
    if not things.endswith(SAME):
        for many, single in ENDINGS:
            if things.endswith(many):
                return things.removesuffix(many) + single
    return things


def _refuse_taken(names: Names) -> None:
    """Refuse what another feature has: a table, a path, or a class of a table."""
    classes = {mapper.class_.__name__ for mapper in Base.registry.mappers}
    routers = [router for feature in FEATURES for router in feature.routers]
    paths = {
        route.path for router in routers for route in router.routes if isinstance(route, Route)
    }
    path = f"/api/v1/{names.path}"
    for what, is_taken in (
        (f"the table {names.things}", names.things in Base.metadata.tables),
        (f"the path {path}", path in paths),
        (f"the class {names.cls}", names.cls in classes),
    ):
        if is_taken:
            raise DevError(f"NAME={names.things}: another feature has {what}. Choose another name.")
