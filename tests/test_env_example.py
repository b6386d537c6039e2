""".env.example: it explains each setting that exists."""

import re
from typing import Any

import pytest

from app.config import Settings
from app.registry import SETTINGS
from tests.live import ROOT

OTHERS = "Not read by the service:"  # heads the variables of compose and dev/
# Scripts and tests set these. Nobody writes them to .env.
OF_SCRIPTS = {"APP_RELEASE", "COMPOSE_PROJECT_NAME", "DEBUGGER", "DEVELOPMENT_IMAGE", "TAG"}
VARIABLE = re.compile(r"^(# )?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)


class TestExample:
    """.env.example names every setting, and no other."""

    def test_names_each_setting_once_and_no_other(self) -> None:
        read, _, others = (ROOT / ".env.example").read_text().partition(OTHERS)
        kinds = [Settings.model_fields, *(kind.model_fields for kind in SETTINGS)]
        settings = [name.upper() for fields in kinds for name in fields]
        assert sorted(name for _, name, _ in VARIABLE.findall(read)) == sorted(settings)
        assert not {name for _, name, _ in VARIABLE.findall(others)} & set(settings)

    def test_names_what_the_compose_files_read(self) -> None:
        files = [(ROOT / name).read_text() for name in ("compose.yaml", "compose.override.yaml")]
        read = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", "".join(files)))
        named = {name for _, name, _ in VARIABLE.findall((ROOT / ".env.example").read_text())}
        assert read - named == OF_SCRIPTS

    def test_what_is_not_commented_out_is_the_default(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        urls: dict[str, Any] = {
            "database_url": "postgresql://db/drydock",
            "redis_url": "redis://redis/0",
        }
        defaults = [Settings(**urls), *(kind() for kind in SETTINGS)]
        for commented, name, value in VARIABLE.findall((ROOT / ".env.example").read_text()):
            if not commented:
                monkeypatch.setenv(name, value)
        assert [Settings(**urls), *(kind() for kind in SETTINGS)] == defaults
