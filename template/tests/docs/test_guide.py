"""docs/your-first-feature.md: checks without running its steps. template/checks/init runs them."""

import re
from pathlib import Path

import pytest

from template import ROOT
from template.tests.docs.guide import Change, Commands, Holding, NewFile, steps_of

PAGE = (ROOT / "docs" / "your-first-feature.md").read_text()
STEPS = list(steps_of(PAGE))

EXAMPLE = """
A page.

`app/x.py`:

```python
x = 1
```

```diff
--- app/y.py
 before
-old
+new
```

`app/z*.py` holds:

```python
z = 3
```

```console
$ for reading only
```

```sh
make test
```
"""


class TestReading:
    """The reader finds each kind of step."""

    def test_each_kind_of_block(self) -> None:
        assert list(steps_of(EXAMPLE)) == [
            NewFile("app/x.py", "x = 1\n"),
            Change("app/y.py", "before\nold\n", "before\nnew\n"),
            Holding("app/z*.py", "z = 3\n"),
            Commands("make test\n"),
        ]


class TestFollowing:
    """A step that can't be done raises an error with the reason."""

    def test_a_file_is_written_and_never_over_another(self, tmp_path: Path) -> None:
        step = NewFile("x.py", "x = 1\n")
        step.follow(tmp_path)
        assert (tmp_path / "x.py").read_text() == "x = 1\n"
        with pytest.raises(AssertionError, match="is there already"):
            step.follow(tmp_path)

    def test_a_change_needs_its_place_once(self, tmp_path: Path) -> None:
        (tmp_path / "y.py").write_text("a\nb\nc\n")
        Change("y.py", "b\n", "b\nnew\n").follow(tmp_path)
        assert (tmp_path / "y.py").read_text() == "a\nb\nnew\nc\n"
        with pytest.raises(AssertionError, match="does not hold once"):
            Change("y.py", "gone\n", "new\n").follow(tmp_path)
        (tmp_path / "y.py").write_text("b\nb\n")
        with pytest.raises(AssertionError, match="does not hold once"):
            Change("y.py", "b\n", "new\n").follow(tmp_path)

    def test_what_was_generated_is_compared(self, tmp_path: Path) -> None:
        (tmp_path / "z1.py").write_text("z = 3\n")
        Holding("z*.py", "z = 3\n").follow(tmp_path)
        with pytest.raises(AssertionError, match="does not hold"):
            Holding("z*.py", "z = 4\n").follow(tmp_path)


class TestFirstFeature:
    """The page shows what `make feature` writes; the check that follows it compares the files."""

    def test_it_shows_the_layers(self) -> None:
        shown = {Path(step.pattern).stem for step in STEPS if isinstance(step, Holding)}
        changed = {Path(step.path).stem for step in STEPS if isinstance(step, Change)}
        layers = {"models", "schemas", "service", "errors", "router", "panel", "tasks"}
        assert shown | changed >= layers

    def test_every_block_counts(self) -> None:
        """The reader skips no block that looks like a step."""
        blocks = re.findall(r"^```(?:python|html|diff|sh)$", PAGE, re.MULTILINE)
        assert len(STEPS) == len(blocks)
