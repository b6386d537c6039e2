"""The package index, in each state that it can be in for whoever sits behind a network."""

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from dev.doctor import index
from dev.doctor.findings import Machine, State, ok
from dev.stamp import PYTHON
from tests.dev.doctor.conftest import MakeMachine, only

UV = str(PYTHON.with_name("uv"))
WHEEL = "typing_extensions-99-py3-none-any.whl"
DESCRIPTION = {
    "METADATA": "Metadata-Version: 2.1\nName: typing-extensions\nVersion: 99\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}


@pytest.fixture(params=["pip", "uv"])
def tool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def own_index(tmp_path: Path) -> str:
    """An index with one package, in files."""
    folder = tmp_path / "simple" / index.PACKAGE
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    with ZipFile(folder / WHEEL, "w") as wheel:
        for name, text in DESCRIPTION.items():
            wheel.writestr(f"typing_extensions-99.dist-info/{name}", text)
    return folder.parent.as_uri()


def behind(machine: MakeMachine, tool: str, url: str) -> Machine:
    """A machine whose pip and uv know this index only, whatever this one is configured for."""
    none = {"PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_CONFIG_FILE": "/dev/null"}
    return machine(
        **none,
        UV=UV if tool == "uv" else "",
        PIP_INDEX_URL=url,
        UV_DEFAULT_INDEX=url,
        UV_NO_CONFIG="1",
        PATH="/usr/bin:/bin",
    )


@pytest.fixture
def silent() -> Iterator[str]:
    """A proxy that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"


class TestIndex:
    """An index that can't be reached is found within seconds, by pip as by uv."""

    def test_one_that_answers(
        self,
        machine: MakeMachine,
        tool: str,
        own_index: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(index, "SECONDS", 60)  # two loaded cores start pip slowly
        assert only(index.check_index, behind(machine, tool, own_index)) == ok(
            "index", "the package index answers"
        )

    @pytest.mark.parametrize(
        ("tool", "installed", "state"),
        [("pip", False, State.BAD), ("uv", False, State.BAD), ("uv", True, State.NOTE)],
    )
    def test_one_that_is_not_there(
        self,
        machine: MakeMachine,
        monkeypatch: pytest.MonkeyPatch,
        tool: str,
        installed: bool,  # noqa: FBT001 - a parameter of the test
        state: State,
    ) -> None:
        monkeypatch.setattr(index, "is_current", lambda: installed)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and does not listen
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
            found = only(index.check_index, behind(machine, tool, url))
        assert found.state is state
        assert found.says.startswith("the package index can't be reached: ")
        assert "PIP_INDEX_URL" in found.remedy

    def test_one_that_says_nothing(
        self, machine: MakeMachine, tool: str, silent: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index, "SECONDS", 1)
        started = time.monotonic()
        found = only(index.check_index, behind(machine, tool, silent))
        assert found.state is not State.OK
        assert time.monotonic() - started < 3

    def test_nothing_to_ask_with(
        self, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index, "PYTHON", Path("/no/python"))
        monkeypatch.setattr(sys, "executable", "/no/python")
        assert only(index.check_index, machine(UV="")).state is State.NOTE
