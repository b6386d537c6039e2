"""docs/architecture.md: its picture is the contract that `make lint` checks, and the tree."""

import re
import tomllib

from tests.docs.follow import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def picture() -> list[set[str]]:
    """The layers from above, each a set of modules."""
    found = re.search(r"```text\n(app\..*?)```", PAGE, re.DOTALL)
    assert found is not None
    return [set(line.partition("#")[0].strip().split(" | ")) for line in found[1].splitlines()]


def layers() -> list[list[str]]:
    """As `make lint` reads them: in brackets stands what may be absent."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [found] = [
        entry["layers"]
        for entry in settings["tool"]["importlinter"]["contracts"]
        if entry["type"] == "layers"
    ]
    return [[name.strip() for name in layer.split("|")] for layer in found]


def contract() -> list[set[str]]:
    return [{name.strip("()") for name in layer} for layer in layers()]


def may_be_absent() -> set[str]:
    return {name.strip("()") for layer in layers() for name in layer if name.startswith("(")}


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
        placed = set().union(*contract())
        there = {*modules_of("app"), "app.__main__"}
        assert there - placed == set()
        assert placed - there <= may_be_absent()


class TestNames:
    """Every file that the page names exists."""

    def test_they_exist(self) -> None:
        named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", PAGE)
        assert len(named) > 10
        absent = may_be_absent() - modules_of("app/features")
        excused = [name.removeprefix("app.").replace(".", "/") for name in absent]
        missing = [
            name
            for name in named
            # Those of app/ are named without that.
            if not any((top / name).exists() for top in (ROOT, ROOT / "app"))
            and not any(part in name for part in excused)
        ]
        assert missing == []
