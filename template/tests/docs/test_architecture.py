"""docs/architecture.md: its picture is the contract that `make lint` checks, and the tree."""

import re
import tomllib

import pytest

from template import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def picture() -> list[set[str]]:
    """The layers from above, each a set of modules."""
    found = re.search(r"```text\n(app\..*?)```", PAGE, re.DOTALL)
    assert found is not None
    return [set(line.split(" | ")) for line in found[1].splitlines()]


def contract() -> list[set[str]]:
    """The same as `make lint` reads it. Brackets stand around what may be absent."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [layers] = [
        entry["layers"]
        for entry in settings["tool"]["importlinter"]["contracts"]
        if entry["type"] == "layers"
    ]
    return [{name.strip(" ()") for name in layer.split("|")} for layer in layers]


def modules_of(folder: str) -> set[str]:
    """The modules and packages right under a folder of app/, by their dotted names."""
    modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
    return {f"{folder}.{name}".replace("/", ".") for name in modules | packages}


class TestPicture:
    """What the page shows is what is checked, and what there is."""

    def test_it_is_the_contract(self) -> None:
        assert picture() == contract()

    def test_every_module_has_its_place(self) -> None:
        """One that is missing could import whatever it likes."""
        assert set().union(*contract()) == {*modules_of("app"), "app.__main__"}


@pytest.mark.parametrize("name", ["architecture", "links"])
def test_every_file_that_a_page_names_exists(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text()
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", page)
    assert len(named) > 10
    # Those of app/ are named without that.
    assert [
        name for name in named if not any((top / name).exists() for top in (ROOT, ROOT / "app"))
    ] == []
