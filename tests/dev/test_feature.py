"""`make feature` refuses what would not work, and writes nothing then."""

import ast
from pathlib import Path

import pytest

from dev.errors import DevError
from dev.feature.fields import KINDS, parse_fields
from dev.feature.names import Names, choose_names, one_of
from dev.feature.record import REGISTRY
from dev.feature.undo import undo
from dev.feature.write import register, render, write
from dev.files import ROOT

FIELDS = "number:str:unique due:date:index note:text?"


def refused(name: str, fields: str = FIELDS, *, singular: str = "") -> str:
    """Why make feature writes nothing."""
    with pytest.raises(DevError) as error:
        write(name, fields, singular=singular, jobs=False, panel=True)
    return str(error.value)


class TestNames:
    """A name is a plural that nothing else has."""

    @pytest.mark.parametrize(
        ("things", "thing", "article"),
        [
            *(("invoices", "invoice", "an"), ("companies", "company", "a"), ("boxes", "box", "a")),
            *(
                ("addresses", "address", "an"),
                ("statuses", "status", "a"),
                ("people", "person", "a"),
            ),
            *(("line_items", "line_item", "a"), ("batches", "batch", "a"), ("units", "unit", "a")),
            *(("expenses", "expense", "an"), ("movies", "movie", "a"), ("orders", "order", "an")),
        ],
    )
    def test_one_of_them(self, things: str, thing: str, article: str) -> None:
        assert one_of(things) == thing
        assert Names(things, thing).article == article

    @pytest.mark.parametrize(
        "name",
        [
            *("", "Invoices", "line-items", "2fa", "_things", "things_", "line__items", "a" * 26),
            *("../things", "invo ices", "$(id)", "rechnungén", "i", "class", "None", "async"),
        ],
    )
    def test_no_name_of_a_package(self, name: str) -> None:
        assert refused(name).startswith(f"NAME={name}")

    @pytest.mark.parametrize("name", ["data", "sheep", "series", "news", "invoice", "status"])
    def test_a_plural_is_needed(self, name: str) -> None:
        assert "SINGULAR=" in refused(name)

    @pytest.mark.parametrize("name", ["tokens", "browser_sessions"])
    def test_one_that_is_taken(self, name: str) -> None:
        assert "Choose another" in refused(name)

    @pytest.mark.parametrize("name", ["sorts", "texts", "indexes", "dates", "bases"])
    def test_a_class_that_the_code_imports(self, name: str) -> None:
        assert "two meanings" in refused(name)

    def test_an_own_singular(self) -> None:
        assert choose_names("some_aircraft", "aircraft").cls == "Aircraft"
        assert refused("wombats", singular="Wombat").startswith("SINGULAR=Wombat")


class TestFields:
    """A field has a name, a type and options; what would not work is named with the remedy."""

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ("", "FIELDS is empty"),
            *(
                (word, "is no field")
                for word in ("number", ":str", "Nr:str", "a-b:str", "x__y:str")
            ),
            *((f"{name}:str", "has a meaning") for name in ("class", "id", "created_at", "sort")),
            *(
                (f"{name}:str", "has a meaning")
                for name in ("metadata", "registry", "json", "copy")
            ),
            ("model_x:str", "pydantic"),
            *((f"x:{kind}", "unknown type") for kind in ("string", "float", "money", "enum", "?")),
            ("x:str:uniq", "unique or index"),
            ("x:str x:int", "two meanings"),
            ("due:date:index due_from:date", "two meanings"),
            ("x:text:index", "too long"),
            *((f"x:{kind}:unique", "few values") for kind in ("bool", "draft|paid")),
            *((f"x:{kind}", "different words") for kind in ("a|a", "a|B", "a|", "1|2", "a|B_")),
            *((f"{name}:{name}", "two meanings") for name in ("date", "datetime")),
        ],
    )
    def test_refused(self, fields: str, says: str) -> None:
        message = refused("wombats", fields)
        assert says in message
        assert len(message) > len(says)

    def test_words_of_sql_are_quoted(self) -> None:
        fields = parse_fields("order:str user:a|b select:int:index group:str?", thing="thing")
        files = render(Names("things", "thing"), fields, jobs=False, panel=True)
        model = next(text for path, text in files.items() if path.name == "models.py")
        assert '"order" <> ' in ast.unparse(ast.parse(model))
        assert '"user" IN ' in ast.unparse(ast.parse(model))

    def test_every_type_is_explained(self) -> None:
        page = (ROOT / "docs/your-first-feature.md").read_text()
        assert all(f"| `{kind}` |" in page for kind in KINDS)


@pytest.fixture
def files() -> dict[Path, str]:
    fields = parse_fields(FIELDS, thing="wombat")
    return render(Names("wombats", "wombat"), fields, jobs=True, panel=True)


class TestShape:
    """What it writes has the shape of the features that people wrote."""

    def test_the_same_layers(self, files: dict[Path, str]) -> None:
        tokens = {path.name for path in (ROOT / "app/features/tokens").rglob("*.*")}
        mine = {path.name for path in files if "app/features/wombats" in str(path)}
        panels = {"panel.py", "panel.html"}  # a service without the page at / has none
        assert mine - panels <= tokens

    @pytest.mark.parametrize(
        "layer", ["models", "errors", "schemas", "service", "scopes", "router"]
    )
    def test_each_layer_imports_only_those_before_it(
        self, files: dict[Path, str], layer: str
    ) -> None:
        layers = ["scopes", "errors", "models", "schemas", "service", "router"]
        text = files[ROOT / f"app/features/wombats/{layer}.py"]
        for module in imported(text):
            if module.startswith("app.features.wombats."):
                name = module.removeprefix("app.features.wombats.")
                assert layers.index(name) < layers.index(layer)

    def test_the_router_guards_as_that_of_tokens_does(self, files: dict[Path, str]) -> None:
        mine = files[ROOT / "app/features/wombats/router.py"]
        theirs = (ROOT / "app/features/tokens/router.py").read_text()
        shared = {"app.features.tokens.auth", "app.infra.http.idempotency", "app.infra.db"}
        assert shared <= imported(mine) & imported(theirs)
        options = "responses=responses(*API_ERRORS, TokenInvalid, ScopeMissing)"
        assert options in mine
        assert options in theirs

    def test_the_registry_lists_it_last(self) -> None:
        text = register(REGISTRY.read_text(), "wombats")
        assert "    wombats,\n]\n" in text
        assert "import feature as wombats\n" in text
        ast.parse(text)


def imported(text: str) -> set[str]:
    return {
        node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)
    }


class TestUndo:
    """Only what make feature wrote here can be taken back."""

    @pytest.mark.parametrize("name", ["tokens", "wombats", "", "../tokens", "."])
    def test_nothing_else(self, name: str) -> None:
        with pytest.raises(DevError, match=f"UNDO={name}"):
            undo(name)
        assert (ROOT / "app/features/tokens/models.py").exists()
