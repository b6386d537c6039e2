"""What the image's bytecode leaves out is what only a reader or a type checker looks at."""

import subprocess
import sys
from pathlib import Path

import pytest

COMPILE = Path("deploy/compile.py")
MODULE = '''"""About the module."""
import typing
from dataclasses import dataclass
from typing import overload


@overload
def double(of: int) -> int: ...
@typing.overload
def double(of: str) -> str: ...
def double(of):
    """About the function."""
    assert of, "asserts stay"
    return of + of


@dataclass
class Pair:
    left: int
    right: int = 0

    def total(self, *more: int, start: int = 0, **named: int) -> int:
        return start + self.left + self.right
'''
ASKED = """
import typing
from {package} import module
print([module.double(21), module.double("a"), module.Pair(1).total(start=2)])
print(len(typing.get_overloads(module.double)), module.double.__doc__)
print(sorted(module.Pair.__annotations__), sorted(module.Pair.total.__annotations__))
try:
    module.double(0)
except AssertionError as error:
    print(error)
"""
KEPT = ["more", "named", "return", "start"]


@pytest.mark.parametrize(
    ("package", "options", "left"),
    [
        ("redis", ["--stripped"], ("0 .", [])),
        ("other", ["--stripped"], ("0 .", KEPT)),
        ("redis", [], ("2 About the function.", KEPT)),
    ],
)
def test_stripped_bytecode_does_what_its_source_does(
    tmp_path: Path, package: str, options: list[str], left: tuple[str, list[str]]
) -> None:
    packages = tmp_path / "site-packages"
    (packages / package).mkdir(parents=True)
    (packages / package / "__init__.py").touch()
    (packages / package / "module.py").write_text(MODULE)

    run(sys.executable, str(COMPILE), *options, str(tmp_path))
    said = run(sys.executable, "-c", ASKED.format(package=package), PYTHONPATH=str(packages))

    described, annotations = left
    assert said.splitlines() == [
        "[42, 'aa', 3]",
        described,
        f"['left', 'right'] {annotations}",
        "asserts stay",
    ]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
