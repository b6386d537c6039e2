"""Ten features that `make feature` writes in one clone pass all checks at once, and go again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from template import ROOT
from template.tests.init.conftest import git, save

pytestmark = pytest.mark.timeout(1500)

# What is typed behind `make feature`.
TEN = [
    ["NAME=invoices", "JOBS=yes", "FIELDS=number:str:unique amount:decimal due:date note:text?"],
    ["NAME=orders", "FIELDS=order:int:unique group:str:index user:uuid total:decimal:index"],
    ["NAME=line_items", "FIELDS=position:int:index paid:bool:index select:draft|sent:index"],
    ["NAME=people", "FIELDS=email:str:unique born:date?:index seen:datetime?"],
    ["NAME=statuses", "PANEL=no", "FIELDS=text:text"],
    ["NAME=events", "FIELDS=at:datetime:index of:uuid:unique kind:a|b|c?:index", "JOBS=yes"],
    ["NAME=data", "SINGULAR=datum", "FIELDS=value:decimal?:unique flag:bool? name:str?:unique"],
    ["NAME=units", "FIELDS=code:str:unique symbol:str:unique rank:int:unique"],
    ["NAME=a1s", "FIELDS=x:int", "PANEL=no", "JOBS=yes"],
    [f"NAME={'abcdefghij' * 2}abcds", f"FIELDS={'f' * 25}:one_of_them|another:index"],
]


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    # As root, Postgres is started as another user from here.
    with TemporaryDirectory(prefix="ten-") as name:
        Path(name).chmod(0o755)
        folder = Path(name).resolve() / "clone"
        git(ROOT, "clone", "--quiet", str(ROOT), str(folder))
        (folder / ".venv").symlink_to(ROOT / ".venv")
        (folder / ".git/info/exclude").write_text(".venv\n")
        yield folder


def run(clone: Path, *words: str) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST")
    }
    done = subprocess.run(
        words,
        check=False,
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class TestTen:
    """The tests run in order: the later ones need the earlier."""

    def test_they_are_written(self, clone: Path) -> None:
        for words in TEN:
            assert "To take it back" in run(clone, "make", "feature", *words)

    def test_lint(self, clone: Path) -> None:
        run(clone, "make", "lint")

    def test_their_tests_and_those_of_all_features(self, clone: Path) -> None:
        names = [words[0].removeprefix("NAME=") for words in TEN]
        own = " ".join(f"tests/features/{name}" for name in names)
        others = "tests/test_registry.py tests/test_scopes.py tests/infra/test_schema.py"
        print(run(clone, "make", "test", f"T=-q -n auto -p no:schemathesis {own} {others}"))

    def test_the_contract(self, clone: Path) -> None:
        run(clone, "make", "test", "T=-q tests/test_contract.py --timeout=600")

    def test_the_migrations_make_what_the_models_say(self, clone: Path) -> None:
        run(clone, "make", "migrate", "RUNTIME=embedded")
        owner = [".venv/bin/python", "-m", "dev", "run", "--owner", "--"]
        assert "No new upgrade operations" in run(clone, *owner, "python", "-m", "alembic", "check")

    def test_the_last_one_goes_and_the_others_stay(self, clone: Path) -> None:
        names = [words[0].removeprefix("NAME=") for words in TEN]
        for name in reversed(names):
            run(clone, "make", "feature", f"UNDO={name}", "RUNTIME=embedded")
        assert git(clone, "status", "--porcelain") == ""
        run(clone, "make", "migrate", "RUNTIME=embedded")

    def test_one_that_somebody_has_edited_stays(self, clone: Path) -> None:
        run(clone, "make", "feature", *TEN[0])
        model = clone / "app/features/invoices/models.py"
        text = model.read_text()
        undo = ["make", "feature", "UNDO=invoices", "RUNTIME=embedded"]
        for change in (text + "# mine\n", text):
            model.write_text(change)
            if change == text:
                save(clone)  # the other reason: it is in git
            done = subprocess.run(undo, check=False, cwd=clone, capture_output=True, text=True)
            assert done.returncode != 0
            assert "nothing was removed" in done.stderr
            assert model.read_text() == change
