"""`SAMPLE=no`: what only the sample needs goes, and nothing else."""

from pathlib import Path, PurePosixPath

import pytest

from dev.init import sample
from dev.init.__main__ import main
from dev.init.marks import without
from dev.init.tree import Tree
from tests.dev.init.conftest import FILES, git, save

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def clone(clone: Path) -> Path:
    """The small repository with a sample in it."""
    (clone / "app/features/links").mkdir(parents=True)
    (clone / "app/features/links/models.py").write_text("\n")
    project = (clone / "pyproject.toml").read_text()
    (clone / "pyproject.toml").write_text(project.replace('"Parser>=1",', '"Parser>=1", # sample'))
    save(clone)
    return clone


class TestSample:
    """The sample's folders, its marked lines and its dependencies go."""

    def test_files_and_lines(self, clone: Path) -> None:
        assert main(["", "no"]) == 0
        assert not (clone / "app/features").exists()
        assert "Parser" not in (clone / "pyproject.toml").read_text()
        assert (clone / "README.md").read_text() == FILES["README.md"]

    def test_a_dependency_goes_with_what_came_for_it(self, clone: Path) -> None:
        main(["", "no"])
        head, _, _ = FILES["requirements.txt"].partition("    # via")
        expected = f"{head}    # via drydock (pyproject.toml)\n"
        assert (clone / "requirements.txt").read_text() == expected

    def test_it_tells(self, clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["seamark", "no"])
        said = capsys.readouterr().out
        assert "The sample is gone: 1 files, and 1 lines of 1 others" in said
        assert "is seamark now" in said

    def test_again(
        self, clone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        main(["", "no"])
        save(clone)
        monkeypatch.setattr("dev.init.__main__.has_sample", lambda: False)
        assert main(["", "no"]) == 0
        assert "already, without the sample" in capsys.readouterr().out
        assert git(clone, "status", "--porcelain") == ""


class TestList:
    """What the list names is there: a file that was moved must not stay behind."""

    @pytest.mark.parametrize("pattern", sample.ONLY_ITS_OWN)
    def test_each_line_of_it_finds_something(self, pattern: str) -> None:
        assert list(ROOT.glob(pattern))

    def test_a_folder_elsewhere_of_the_same_name_stays(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path)
        kept = PurePosixPath("docs/app/features/links/x")
        tree.texts[kept] = ""
        sample.remove_sample(tree)
        assert list(tree.texts) == [kept]


class TestMarks:
    """A line or a region goes by its comment, in any syntax that the repository has."""

    @pytest.mark.parametrize(
        "line",
        [
            *("x = 1  # sample", "x: 1 # sample: why", "x; // sample", "| a | b <!-- sample --> |"),
            *("{# sample #}", "x /* sample */", "# sample"),
        ],
    )
    def test_a_line(self, line: str) -> None:
        assert without(f"a\n{line}\r\nb\n", "sample") == ("a\nb\n", 1)

    @pytest.mark.parametrize(
        "line",
        [
            "# samples",
            "# a sample",
            "sample = 1",
            '"# sample"',
            "# sample size: 3",
            "# begins sample",
        ],
    )
    def test_what_is_none(self, line: str) -> None:
        assert without(f"{line}\n", "sample") == (f"{line}\n", 0)

    def test_a_region_and_the_blank_line_behind_it(self) -> None:
        text = "a\n\n<!-- begin sample -->\nb\n\nc\n<!-- end sample -->\n\nd\n"
        assert without(text, "sample") == ("a\n\nd\n", 6)

    def test_a_region_of_another_word(self) -> None:
        text = "# begin template\nb\n# end template\n# sample: no\nc\n"
        assert without(text, "sample")[0] == "# begin template\nb\n# end template\nc\n"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("# begin sample\n", "has no `end sample`"),
            ("# end sample\n", "does not pair"),
            ("# begin sample\n# begin sample\n# end sample\n", "does not pair"),
        ],
    )
    def test_one_that_does_not_pair_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(Exception, match=message):
            without(text, "sample")

    def test_every_file_here_pairs_them(self) -> None:
        for path, text in Tree.read(ROOT).texts.items():
            for word in ("sample", "template"):
                if path.name not in {"test_sample.py", "conftest.py"}:
                    without(text, word)
