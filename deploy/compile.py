"""Compile to bytecode: `python deploy/compile.py [--stripped] FOLDER`, while building.

Beside compileall it can leave out what only a reader or a type checker looks at, as `strip` takes
debugging symbols out of what was compiled from C:

- docstrings, 6 MB of each process and 4 MB of the image;
- overloads, which the function that follows them replaces (2 MB);
- the annotations of functions in the packages of UNNEEDED, for which Python 3.14 makes one more
  function each (9 MB). Those of classes stay, since dataclasses are made from them.

With PYTHONNODEBUGRANGES=1 in its environment the bytecode knows lines, but not columns (0.6 MB).

Asserts stay, unlike with `python -OO`. A file that has bytecode already keeps it. No time stamps:
a start checks no source file, and two builds give the same bytes.
"""

import argparse
import ast
import importlib.util
import marshal
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

# Packages that do the same without the annotations of their own functions. SQLAlchemy and
# prometheus_client copy them into wrappers, psycopg looks at some in a debugging class of its own,
# pydantic at those of the functions it is given, the others never. FastAPI and Starlette keep
# theirs: a class of theirs may be a dependency, and is called by what its parameters say. So does
# whatever is not named here.
UNNEEDED = {
    "anyio",
    "click",
    "limits",
    "opentelemetry",
    "prometheus_client",
    "psycopg",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "redis",
    "sqlalchemy",
    "structlog",
    "uvicorn",
}

WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# One character rather than none: some packages write into their docstrings when imported.
INSTEAD = "."
Function = ast.FunctionDef | ast.AsyncFunctionDef
UNCHECKED_HASH = (0b01).to_bytes(4, "little")  # PEP 552


class Stripped(ast.NodeTransformer):
    """A module without overloads, and without annotations of functions if nobody needs those."""

    def __init__(self, *, annotations: bool) -> None:
        self.annotations = annotations

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: Function) -> ast.AST:
        self.generic_visit(node)
        if any(_is_overload(decorator) for decorator in node.decorator_list):
            return ast.copy_location(ast.Pass(), node)
        if not self.annotations:
            node.returns = None
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
        return node


def _is_overload(decorator: ast.expr) -> bool:
    match decorator:
        case ast.Name("overload"):
            return True
        case ast.Attribute(ast.Name("typing" | "typing_extensions" | "t" | "te"), "overload"):
            return True
    return False


def compile_file(path: Path, *, stripped: bool) -> None:
    target = Path(importlib.util.cache_from_source(path))
    if target.exists():
        return
    source = path.read_bytes()
    try:
        tree = ast.parse(source, path)
    except SyntaxError:
        return  # a template, or for another Python: nobody imports it
    if stripped:
        _empty_docstrings(tree)
        read = not any(f"/site-packages/{name}/" in str(path) for name in UNNEEDED)
        tree = ast.fix_missing_locations(Stripped(annotations=read).visit(tree))
    code = compile(tree, path, "exec", dont_inherit=True)
    header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(header + marshal.dumps(code))


def _empty_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            statement = node.body[0]
            assert isinstance(statement, ast.Expr)
            statement.value = ast.copy_location(ast.Constant(INSTEAD), statement.value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stripped", action="store_true")
    options = parser.parse_args()
    files = sorted(options.folder.rglob("*.py"))
    work = partial(compile_file, stripped=options.stripped)
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(work, files, chunksize=16):
            pass  # the loop raises what a worker raised


if __name__ == "__main__":
    main()
