"""`make clean-data` asks first. Containers are in tests/stack."""

import sys
from pathlib import Path

import pytest

from dev import data
from dev.errors import DevError
from dev.files import ROOT


class TestQuestion:
    """Without a yes, nothing is removed."""

    @pytest.fixture(autouse=True)
    def local(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        local = tmp_path / ".local"
        local.mkdir()
        (local / "token").touch()
        monkeypatch.setattr(data, "LOCAL", local)
        monkeypatch.setattr(data, "stack_data", lambda: ("", []))
        return local

    def test_without_a_terminal(
        self, local: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with (ROOT / "LICENSE").open() as no_terminal:
            monkeypatch.setattr(sys, "stdin", no_terminal)
            with pytest.raises(DevError, match="YES=1"):
                data.remove_data(sure=False)
        assert f"{local}: databases, token and logs" in capfd.readouterr().out
        assert (local / "token").exists()

    def test_no(self, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(data, "is_confirmed", lambda: False)
        assert data.remove_data(sure=False) == 1
        assert (local / "token").exists()
