"""Writes the files of a new feature from the templates of this package."""

import argparse
import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from alembic.config import Config
from alembic.script import ScriptDirectory
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dev.errors import DevError
from dev.feature.fields import Field, parse_fields
from dev.feature.names import Names, choose_names
from dev.feature.record import REGISTRY, note
from dev.files import ROOT

TEMPLATES = Path(__file__).parent / "templates"
COLUMNS = 4  # of the panel's table


def write(name: str, text: str, *, singular: str, jobs: bool, panel: bool) -> None:
    """Write the feature `name` with the fields of `text`, and print what to do next.

    Nothing is written if a name is refused.
    """
    names = choose_names(name, singular)
    files = render(names, parse_fields(text, thing=names.thing), jobs=jobs, panel=panel)
    files[REGISTRY] = register(REGISTRY.read_text(encoding="utf-8"), names.things)
    for path, content in files.items():
        if path.suffix == ".py":
            refuse_collisions(path, content)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    tidy([path for path in files if path.suffix == ".py"])
    note(names.things, [path for path in files if path != REGISTRY])
    tell(names, sorted(files))


def render(names: Names, fields: list[Field], *, jobs: bool, panel: bool) -> dict[Path, str]:
    """The content of each file, unformatted."""
    head = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml")).get_current_head()
    revision = uuid4().hex[:12]
    unique = [field for field in fields if field.unique]
    searched = [field for field in fields if field.unique or field.index]
    sortable = [field for field in searched if not field.optional]
    values = {
        "things": names.things,
        "THINGS": names.things.upper(),
        "thing": names.thing,
        "Thing": names.cls,
        "words": names.words,
        "word": names.word,
        "Title": names.words.capitalize(),
        "path": names.path,
        "a": names.article,
        "fields": fields,
        "required": [field for field in fields if not field.optional],
        "optional": [field for field in fields if field.optional],
        "unique": unique,
        "indexed": [field for field in fields if field.index],
        "choices": [field for field in fields if field.values],
        "checked": [field for field in fields if field.check],
        "sortable": sortable,
        "amounts": [field for field in sortable if field.kind == "decimal"],
        "filters": [one for field in fields for one in field.filters()],
        "shown": ([field for field in fields if field.kind != "text"] or fields)[:COLUMNS],
        "conflicts": "".join(f"{field.taken}, " for field in unique),
        "jobs": jobs,
        "panel": panel,
        "revision": revision,
        "down_revision": head,
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - it writes our own source
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        line_statement_prefix="%%",
    )
    files = {ROOT / f"tests/features/{names.things}/__init__.py": ""}
    for template in environment.list_templates():
        path = place(template, names, revision)
        left_out = (path.name == "tasks.py" and not jobs) or (
            path.name.startswith("panel.") and not panel
        )
        if not left_out:
            files[path] = environment.get_template(template).render(values)
    return files


def place(template: str, names: Names, revision: str) -> Path:
    """The file that a template becomes."""
    name = template.removesuffix(".jinja").replace("test_things.py", f"test_{names.things}.py")
    folder, _, rest = name.partition("/")
    if not rest:
        now = datetime.now(UTC)
        return ROOT / f"migrations/versions/{now:%Y%m%d%H%M%S}_{revision}_{names.things}.py"
    return ROOT / folder / "features" / names.things / rest


def register(registry: str, things: str) -> str:
    """The registry with the feature as its last one."""
    before, found, after = registry.partition("FEATURES: Sequence[Feature] = [\n")
    if not found or "]\n" not in after:
        raise DevError("app/registry.py has no list FEATURES: Sequence[Feature] = [ … ].")
    entries, _, rest = after.partition("]\n")
    line = f"from app.features.{things} import feature as {things}\n"
    anchor = "from app.infra.feature import"
    return before.replace(anchor, line + anchor) + found + entries + f"    {things},\n]\n" + rest


def refuse_collisions(path: Path, content: str) -> None:
    """Refuse a name that would mean two things in the file: a field `date` beside the type."""
    body = ast.parse(content).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    imported = [alias.asname or alias.name for node in imports for alias in node.names]
    meanings = Counter([*imported, *bound(body)])
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    inside = {name for node in classes for name in bound(node.body)}
    twice = {name for name in meanings if meanings[name] > 1} | {*imported} & inside
    for name in sorted(twice):
        where = path.relative_to(ROOT)
        raise DevError(f"The name {name} would have two meanings in {where}. Choose another.")


def bound(nodes: list[ast.stmt]) -> Iterator[str]:
    """The names that these statements define, without imports."""
    for node in nodes:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name


def tidy(files: list[Path]) -> None:
    """Remove imports that are not used, sort the others, and format."""
    for words in (("check", "--fix", "--exit-zero", "--silent"), ("format", "--silent")):
        subprocess.run([sys.executable, "-m", "ruff", *words, *files], check=True, cwd=ROOT)


def tell(names: Names, files: list[Path]) -> None:
    print(f"{names.words.capitalize()}, and one of them is {names.article} {names.word}:")
    for path in files:
        print(f"  {path.relative_to(ROOT)}")
    print(
        "\nRead them, then:\n"
        "  make migrate\n"
        f"  make test T=tests/features/{names.things}\n"
        "  make dev\n"
        f"To take it back before you commit: make feature UNDO={names.things}"
    )


def main() -> None:
    """Write one feature; show an expected error without a traceback."""
    parser = argparse.ArgumentParser(prog="python -m dev.feature.write")
    parser.add_argument("name", help="its plural, such as invoices")
    parser.add_argument("fields", help='such as "number:str:unique due:date"')
    parser.add_argument("--singular", default="", help="what one of them is called")
    parser.add_argument("--jobs", action="store_true", help="with a nightly job")
    parser.add_argument("--no-panel", action="store_true", help="without a part of the page at /")
    chosen = parser.parse_args()
    options = {"singular": chosen.singular, "jobs": chosen.jobs, "panel": not chosen.no_panel}
    try:
        write(chosen.name, chosen.fields, **options)
    except DevError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
