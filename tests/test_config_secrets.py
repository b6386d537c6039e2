"""Secrets among the settings: read from files, shown nowhere, put into the URLs unharmed."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.connection import parse_url

from app.config import ConfigurationError, Settings
from tests.test_config import DATABASE_URL, RANDOM, REDIS_URL, make


class TestSecrets:
    """A secret is read from a file, and shown nowhere."""

    def test_files_named_like_settings_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "database_url").write_text(f"{DATABASE_URL}\n")
        (tmp_path / "database_password").write_text(f"{RANDOM}\n")
        (tmp_path / "redis_url").write_text(REDIS_URL)
        monkeypatch.setattr("app.config.SECRETS_FOLDER", tmp_path)
        settings = Settings.load()
        assert settings.database_dsn == f"postgresql://drydock:{RANDOM}@db:5432/drydock"
        assert settings.redis_dsn == REDIS_URL

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "redis_url"
        file.touch(mode=0o000)
        monkeypatch.setattr("app.config.SECRETS_FOLDER", tmp_path)
        with pytest.raises(ConfigurationError, match=str(file)):
            Settings.load()

    def test_a_file_that_is_no_text_is_refused_without_showing_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "redis_url").write_bytes(b"\xff" + RANDOM.encode())
        monkeypatch.setattr("app.config.SECRETS_FOLDER", tmp_path)
        with pytest.raises(ConfigurationError, match="secret files") as caught:
            Settings.load()
        assert RANDOM not in str(caught.value)

    def test_showing_the_settings_shows_none(self) -> None:
        url = f"postgresql://drydock:{RANDOM}@db/drydock"
        settings = make(database_url=url, redis_password=RANDOM)
        for shown in (repr(settings), str(settings), settings.model_dump_json()):
            assert RANDOM not in shown

    def test_a_url_that_is_refused_is_not_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", f"mysql://drydock:{RANDOM}@db/drydock")
        monkeypatch.setenv("REDIS_URL", f"redis://:{RANDOM}@redis:notaport/0")
        with pytest.raises(ConfigurationError) as caught:
            Settings.load()
        assert "DATABASE_URL" in str(caught.value)
        assert "REDIS_URL" in str(caught.value)
        assert RANDOM not in str(caught.value)


class TestPasswordApart:
    """A password given apart from the URL gets into it, whatever characters it has."""

    @given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
    def test_postgres_gets_it_unchanged(self, password: str) -> None:
        settings = make(database_password=password)
        found = conninfo_to_dict(settings.database_dsn)
        assert found["password"] == password
        assert (found["user"], found["host"], found["dbname"]) == ("drydock", "db", "drydock")

    @given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
    def test_redis_gets_it_unchanged(self, password: str) -> None:
        found = parse_url(make(redis_password=password).redis_dsn)
        assert (found["password"], found["host"], found["db"]) == (password, "redis", 0)

    def test_it_replaces_the_one_in_the_url(self) -> None:
        settings = make(redis_url="redis://worker:old@redis:6379/2", redis_password="new@")
        parts = urlsplit(settings.redis_dsn)
        assert parts.netloc == "worker:new%40@redis:6379"

    def test_an_empty_one_is_none(self) -> None:
        settings = make(redis_url="redis://:of-the-url@redis:6379/0", redis_password="")
        assert parse_url(settings.redis_dsn)["password"] == "of-the-url"
