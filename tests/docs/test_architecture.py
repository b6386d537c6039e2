"""docs/architecture.md: its picture is the contract that `make lint` checks, and the tree."""

import re
import tomllib

from tests.docs.follow import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
SAMPLE = "links"  # what is said of it stays true of a copy in which it was deleted


def picture() -> list[set[str]]:
    """The layers from above, each a set of modules."""
    found = re.search(r"```text\n(app\..*?)```", PAGE, re.DOTALL)
    assert found is not None
    return [set(line.split(" | ")) for line in found[1].splitlines()]


def contract() -> list[set[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [layers] = [
        entry["layers"]
        for entry in settings["tool"]["importlinter"]["contracts"]
        if entry["type"] == "layers"
    ]
    # In brackets stands what may be absent.
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
        placed = set().union(*contract())
        there = (modules_of("app") - {"app.features"}) | modules_of("app/features")
        there.add("app.__main__")
        assert there - placed == set()
        assert placed - there <= {f"app.features.{SAMPLE}"}


class TestNames:
    """Every file that the page names exists."""

    def test_they_exist(self) -> None:
        named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", PAGE)
        assert len(named) > 20
        has_sample = (ROOT / "app" / "features" / SAMPLE).is_dir()
        expected = [name for name in named if has_sample or SAMPLE not in name]
        # Those of app/ are named without that.
        assert [
            name
            for name in expected
            if not any((top / name).exists() for top in (ROOT, ROOT / "app"))
        ] == []
