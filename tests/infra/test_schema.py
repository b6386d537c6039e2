"""Which schema this code needs."""

from alembic.config import Config
from alembic.script import ScriptDirectory

from app.infra.schema import list_revisions
from tests.live import ROOT


class TestRevisions:
    """The names of the migrations' files give the revisions in Alembic's order."""

    def test_they_are_alembics(self) -> None:
        script = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml"))
        newest_first = [migration.revision for migration in script.walk_revisions()]
        assert list_revisions() == newest_first[::-1], (
            "Rename files in migrations/versions to <date and time>_<revision>_<words>.py, so that "
            "sorting their names gives the order of the migrations."
        )
