"""The fields of a new feature: `number:str:unique due:date:index note:text?`."""

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.dialects.postgresql.base import PGDialect, PGIdentifierPreparer

from app.infra.db import Base
from dev.errors import DevError

LONGEST_NAME = 25  # the longest names of constraints have 63 bytes, Postgres' limit
NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{LONGEST_NAME - 1}}}")
IDENTIFIERS = PGIdentifierPreparer(PGDialect())  # type: ignore[no-untyped-call]
OWN = frozenset({"id", "created_at", "limit", "cursor", "sort", "resources", "of_no_such_name"})
SYNTAX = 'A field is name:type, as in FIELDS="number:str:unique due:date:index note:text?".'


@dataclass(frozen=True)
class Kind:
    """What the templates write for a type: Python source, in each place."""

    python: str  # in the model
    column: str
    migrated: str
    input: str  # in requests
    query: str
    example: str  # an expression of `nth`
    wrong: tuple[str, ...]  # what a request must not have
    ranged: bool = False  # it is filtered by a first and a last value


KINDS = {
    "str": Kind(
        *("str", "Text", "sa.Text()", "ShortText", "ShortText"),
        example='f"example {nth}"',
        wrong=('""', '"x" * (LONGEST_LINE + 1)', '"a\\x00b"', '"a\\nb"', "1"),
    ),
    "text": Kind(
        *("str", "Text", "sa.Text()", "LongText", "LongText"),
        example='f"example\\n{nth}"',
        wrong=('""', '"x" * (LONGEST_TEXT + 1)', '"a\\x00b"', "1"),
    ),
    "int": Kind(
        *("int", "Integer", "sa.Integer()", "Whole", "QueryWhole"),
        example="nth",
        wrong=("2**31", "-(2**31) - 1", "1.5", '"1"', "True"),
        ranged=True,
    ),
    "decimal": Kind(
        *("Decimal", "Numeric(12, 2)", "sa.Numeric(precision=12, scale=2)", "Amount", "Amount"),
        example='f"{nth}.50"',
        wrong=('"0.001"', '"12345678901"', '"NaN"', '"Infinity"', "True"),
        ranged=True,
    ),
    "bool": Kind(
        *("bool", "Boolean", "sa.Boolean()", "Flag", "bool"),
        example="nth % 2 == 0",
        wrong=("1", '"yes"'),
    ),
    "date": Kind(
        *("date", "Date", "sa.Date()", "Day", "Day"),
        example="str(date(2030, 1, 1) + timedelta(days=nth))",
        wrong=('"2030-02-30"', '"2030-01-01T00:00:00Z"', "0", '"0"'),
        ranged=True,
    ),
    "datetime": Kind(
        *("datetime", "TIMESTAMP(timezone=True)", "postgresql.TIMESTAMP(timezone=True)"),
        *("UtcTime", "UtcTime"),
        example='f"2030-01-01T00:{nth:02}:00Z"',
        wrong=('"2030-01-01T00:00:00"', '"1999-01-01T00:00:00Z"', "0", '"0"'),
        ranged=True,
    ),
    "uuid": Kind(
        *("UUID", "Uuid", "sa.Uuid()", "UUID", "UUID"),
        example="str(UUID(int=nth))",
        wrong=('"1"', "1"),
    ),
}


@dataclass(frozen=True)
class Field:
    """One field. The templates read its properties."""

    name: str
    kind: str
    values: tuple[str, ...]  # of a choice, such as draft|paid
    optional: bool
    unique: bool
    index: bool
    thing: str

    @property
    def type(self) -> Kind:
        if not self.values:
            return KINDS[self.kind]
        values = ", ".join(f'"{value}"' for value in self.values)
        return Kind(
            *("str", "Text", "sa.Text()", self.choice, self.choice),
            example=f"({values})[nth % {len(self.values)}]",
            wrong=('"of_no_such_name"', '""', "1"),
        )

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")

    @property
    def title(self) -> str:
        return self.words.capitalize()

    @property
    def shown(self) -> str:
        """How the panel shows it."""
        value = f"{self.thing}.{self.name}"
        shown = f"{{{{ {value} }}}}"
        if self.kind == "bool":
            shown = f'{{{{ "yes" if {value} else "no" }}}}'
        if self.kind == "datetime":
            time = f'{{{{ {value}.strftime("%Y-%m-%d %H:%M") }}}}'
            shown = f'<time datetime="{{{{ {value}.isoformat() }}}}">{time}</time>'
        return f"{{% if {value} is not none %}}{shown}{{% endif %}}" if self.optional else shown

    @property
    def align(self) -> str:
        """The panel's style sheet aligns numbers to the right."""
        return ' class="number"' if self.kind in {"int", "decimal"} else ""

    @property
    def choice(self) -> str:
        return camel(f"{self.thing}_{self.name}")

    @property
    def output(self) -> str:
        return self.choice if self.values else KINDS[self.kind].python

    @property
    def taken(self) -> str:
        return camel(f"{self.thing}_{self.name}_taken")

    @property
    def check(self) -> str | None:
        """The argument of the column's check constraint; the limits are those of the model."""
        column = IDENTIFIERS.quote(self.name)
        if self.values:
            values = ", ".join(f"'{value}'" for value in self.values)
            return repr(f"{column} IN ({values})")
        most = {"str": 200, "text": 10_000}.get(self.kind)
        if most is None:
            return None
        return repr(f"{column} <> '' AND char_length({column}) <= {most}")

    @property
    def check_name(self) -> str:
        return f"{self.name}_known" if self.values else f"{self.name}_length"

    def filters(self) -> Iterator["Filter"]:
        """The parameters of the list that choose by this field."""
        if not (self.unique or self.index):
            return
        if self.type.ranged:
            yield Filter(f"{self.name}_from", self, "ge", f"From this {self.words} on.")
            yield Filter(f"{self.name}_until", self, "le", f"Up to this {self.words}.")
        else:
            yield Filter(self.name, self, "eq", f"Only those with this {self.words}.")


@dataclass(frozen=True)
class Filter:
    name: str
    field: Field
    compare: str
    says: str

    @property
    def type(self) -> str:
        return self.field.type.query


def camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def parse_fields(text: str, *, thing: str) -> list[Field]:
    """The fields of FIELDS. Raises `DevError`, which names the field and the remedy."""
    fields = [_parse(word, thing) for word in text.split()]
    if not fields:
        raise DevError(f"FIELDS is empty. {SYNTAX}")
    owners: dict[str, Field] = {}
    for field in fields:
        for name in {field.name, *(one.name for one in field.filters())}:
            if name in owners:
                raise DevError(f"FIELDS: {name} has two meanings. Rename one of the fields.")
            owners[name] = field
    return fields


def _parse(word: str, thing: str) -> Field:
    name, _, rest = word.partition(":")
    kind, *options = rest.split(":")
    if not rest or not NAME.fullmatch(name) or name.endswith("_") or "__" in name:
        raise DevError(f"FIELDS: {word!r} is no field. {SYNTAX} Names are short and snake_case.")
    if keyword.iskeyword(name) or name in OWN or hasattr(Base, name) or hasattr(BaseModel, name):
        raise DevError(f"FIELDS: {name} has a meaning already. Choose another, such as own_{name}.")
    if name.startswith("model_"):
        raise DevError(f"FIELDS: names that begin with model_ are pydantic's: {name}.")
    optional, kind = kind.endswith("?"), kind.removesuffix("?")
    values = tuple(kind.split("|")) if "|" in kind else ()
    if unknown := set(options) - {"unique", "index"}:
        raise DevError(f"FIELDS: {name} can be unique or index, not {unknown.pop()!r}.")
    if not values and kind not in KINDS:
        known = ", ".join(KINDS)
        raise DevError(
            f"FIELDS: {name} has the unknown type {kind!r}. Choose from {known}, "
            "or list values, as in status:draft|sent|paid."
        )
    if len({*values}) < len(values) or not all(map(_is_value, values)):
        raise DevError(f"FIELDS: the values of {name} must be different words in snake_case.")
    if options and kind == "text":
        raise DevError(f"FIELDS: {name} is too long for an index. Use str instead of text.")
    if "unique" in options and (values or kind == "bool"):
        raise DevError(f"FIELDS: {name} has few values, so it can't be unique.")
    unique = "unique" in options
    return Field(name, kind, values, optional, unique, "index" in options and not unique, thing)


def _is_value(value: str) -> bool:
    return NAME.fullmatch(value) is not None and not keyword.iskeyword(value.upper())
