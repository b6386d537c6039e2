"""Which schema this code needs: read from the migrations, as Alembic would."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.infra.schema import needed_revision
from tests.live import ROOT


def write(folder: Path, name: str, revision: str, down_revision: str | None) -> None:
    (folder / f"{name}.py").write_text(
        f'"""A migration.\n\nRevision ID: {revision}\n"""\n\n'
        f"revision: str = {revision!r}\ndown_revision: str | None = {down_revision!r}\n"
    )


class TestNeededRevision:
    """The newest migration is the one that none follows."""

    def test_it_is_alembics_head(self) -> None:
        config = Config(toml_file=ROOT / "pyproject.toml")
        assert needed_revision() == ScriptDirectory.from_config(config).get_current_head()

    def test_the_names_of_files_do_not_matter(self, tmp_path: Path) -> None:
        write(tmp_path, "z_first", "aaa", None)
        write(tmp_path, "a_last", "ccc", "bbb")
        write(tmp_path, "m_middle", "bbb", "aaa")
        assert needed_revision(tmp_path) == "ccc"

    def test_two_newest_are_an_error(self, tmp_path: Path) -> None:
        write(tmp_path, "first", "aaa", None)
        write(tmp_path, "left", "bbb", "aaa")
        write(tmp_path, "right", "ccc", "aaa")
        with pytest.raises(ValueError, match=r"2 newest migrations \['bbb', 'ccc'\]"):
            needed_revision(tmp_path)

    def test_none_is_one_too(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="0 newest"):
            needed_revision(tmp_path)
