"""docs/architecture.md shows the layers that `make lint` checks, and files that exist."""

import re
import tomllib

import pytest

from template import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def picture() -> list[set[str]]:
    """The layers of the page from top to bottom, each a set of modules."""
    found = re.search(r"```text\n(app\..*?)```", PAGE, re.DOTALL)
    assert found is not None
    return [set(line.split(" | ")) for line in found[1].splitlines()]


def contract() -> list[set[str]]:
    """The layers that `make lint` reads. A layer in brackets is optional."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [layers] = [
        entry["layers"]
        for entry in settings["tool"]["importlinter"]["contracts"]
        if entry["type"] == "layers"
    ]
    return [{name.strip(" ()") for name in layer.split("|")} for layer in layers]


def modules_of(folder: str) -> set[str]:
    """The dotted names of the modules and packages directly in a folder of app/."""
    modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
    return {f"{folder}.{name}".replace("/", ".") for name in modules | packages}


class TestPicture:
    """The page shows the checked layers and all modules."""

    def test_it_is_the_contract(self) -> None:
        assert picture() == contract()

    def test_every_module_has_its_place(self) -> None:
        """A module that no layer names could import everything."""
        assert set().union(*contract()) == {*modules_of("app"), "app.__main__"}


@pytest.mark.parametrize("name", ["architecture", "links"])
def test_every_file_that_a_page_names_exists(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text()
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", page)
    assert len(named) > 10
    # The page names files of app/ without `app/`.
    assert [
        name for name in named if not any((top / name).exists() for top in (ROOT, ROOT / "app"))
    ] == []
