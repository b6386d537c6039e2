"""Without the sample's migrations, the others are one chain."""

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from template import ROOT
from template.init.__main__ import is_sample
from template.init.migrations import FOLDER, close_gaps
from template.init.tree import Tree


def test_the_rest_is_a_chain(tmp_path: Path) -> None:
    texts = {
        path: text
        for path, text in Tree.read(ROOT).texts.items()
        if path.is_relative_to("migrations") and not is_sample(path)
    }
    close_gaps(texts)
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    config = Config()
    config.set_main_option("script_location", str(tmp_path / "migrations"))
    chain = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    files = sorted(path.name for path in texts if path.parent == FOLDER)
    assert chain == [name.split("_")[1] for name in files][::-1]


def test_a_whole_chain_stays_as_it_is() -> None:
    texts = dict(Tree.read(ROOT).texts)
    before = dict(texts)
    close_gaps(texts)
    assert texts == before
