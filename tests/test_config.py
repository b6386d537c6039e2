"""Settings: where they come from, what production refuses, and how faults are reported."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError
from redis.asyncio.connection import parse_url

from app.config import ConfigurationError, FeatureSettings, Settings
from app.infra.connecting import connect_arguments, dsn_of
from tests.live import ROOT

DATABASE_URL = "postgresql://drydock@db:5432/drydock"
REDIS_URL = "redis://redis:6379/0"
RANDOM = "q7Zr0vXn3kLw9TbY"  # sixteen characters, the fewest that production takes
FAULTY = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://drydock:change-me-please@db/drydock",
    "DEBUG": "true",
    "ALLOWED_HOSTS": "go.example.com,*",
    "DATABASE_POOL_SIZE": "0",
}


def make(**changed: Any) -> Settings:
    return Settings(**{"database_url": DATABASE_URL, "redis_url": REDIS_URL, **changed})


def production(**changed: Any) -> Settings:
    secrets = {"database_password": RANDOM, "redis_password": RANDOM}
    return make(**{"environment": "production", **secrets, **changed})


def faults_of(**changed: Any) -> dict[str, str]:
    """What production finds wrong: {setting: message}."""
    with pytest.raises(ValidationError) as caught:
        production(**changed)
    return {str(fault["loc"][0]): fault["msg"] for fault in caught.value.errors()}


class Ship(FeatureSettings):
    """The settings of a feature of these tests."""

    masts: int = 2


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", DATABASE_URL)
    monkeypatch.setenv("REDIS_URL", REDIS_URL)


class TestBadConfiguration:
    """Bad configuration is refused with one message that names every fault and its remedy."""

    # gunicorn's 4 means that the application can't be loaded, so it starts no worker again.
    @pytest.mark.parametrize(
        ("program", "code"), [("app migrate", 2), ("gunicorn -w1 -b127.0.0.1:0", 4)]
    )
    def test_a_process_prints_it_and_ends(self, program: str, code: int) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *program.split()],
            check=False,
            cwd=ROOT,
            env={**os.environ, **FAULTY},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        head, *faults, tail = done.stderr.splitlines()
        assert head == "Drydock can't start: 5 setting(s) need attention."
        assert {line.split(":")[0].strip() for line in faults} == {
            "ALLOWED_HOSTS",
            "DATABASE_PASSWORD",
            "DATABASE_POOL_SIZE",
            "DEBUG",
            "REDIS_URL",
        }
        assert ".env.example" in tail
        assert "change-me-please" not in done.stderr
        assert done.stdout.count("Booting worker") == (1 if "gunicorn" in program else 0)

    @pytest.mark.parametrize("longer", ["connect_timeout", "pool_timeout", "checkout_limit"])
    def test_waits_for_postgres_that_break_the_promise_are_refused(self, longer: str) -> None:
        fault = faults_of(**{f"database_{longer}": 2.9})["database_give_up_after"]
        assert f"DATABASE_{longer.upper()}" in fault
        production(**{f"database_{longer}": 2.9, "database_give_up_after": 9})

    def test_each_line_says_what_to_do_for_the_settings_of_features_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REDIS_URL", REDIS_URL)
        monkeypatch.setenv("RATE_LIMIT_WRITE", "300/day")
        monkeypatch.setenv("MASTS", "none")
        with pytest.raises(ConfigurationError) as caught:
            Settings.load([Ship])
        database, rate, masts = str(caught.value).splitlines()[1:-1]
        assert database == "  DATABASE_URL: is not set"
        assert rate == (
            "  RATE_LIMIT_WRITE: must look like 300/minute (second, minute or hour) "
            "(now set in the environment)"
        )
        assert masts.startswith("  MASTS: ")

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            *(("public_url", "go.example.com"), ("public_url", "ftp://go.example.com")),
            *(("public_url", "https://"), ("public_url", "https://a/?b")),
            *(("allowed_origins", "https://a.example/b"), ("allowed_origins", "null")),
            *(("allowed_origins", "app.example.com"), ("allowed_origins", "https://A.example")),
            *(("rate_limit_login", "0/minute"), ("rate_limit_login", "1.5/minute")),
            *(("rate_limit_login", "10"), ("rate_limit_login", "/hour")),
            ("database_url", "postgresql+psycopg://drydock@db/drydock"),
        ],
    )
    def test_a_value_that_can_not_be_used(self, setting: str, value: str) -> None:
        assert set(faults_of(**{setting: value})) == {setting}


class TestProduction:
    """Production refuses what only a developer may have."""

    def test_takes_secrets_that_are_long_and_random(self) -> None:
        production(allowed_hosts="go.example.com")
        url = f"postgresql://drydock:{RANDOM}@db/drydock"
        production(database_url=url, database_password=None)

    @pytest.mark.parametrize("field", ["database_password", "redis_password"])
    @pytest.mark.parametrize(
        ("secret", "because"),
        [
            (None, "is missing: put it into a file /run/secrets/"),
            ("", "is missing"),
            ("postgres", "is an example value"),
            ("ChangeMe-to-something-long", "is an example value"),
            (RANDOM[:-1], "is shorter than 16 characters"),
        ],
    )
    def test_refuses_secrets_that_are_none(
        self, field: str, secret: str | None, because: str
    ) -> None:
        faults = faults_of(**{field: secret})
        assert list(faults) == [field]
        assert because in faults[field]

    def test_refuses_debug_a_wildcard_host_and_an_example_in_the_url(self) -> None:
        url = "postgresql://drydock:secret@db/drydock"
        faults = faults_of(debug=True, allowed_hosts="*", database_url=url, database_password=None)
        assert set(faults) == {"debug", "allowed_hosts", "database_password"}

    def test_a_faulty_url_is_one_fault_and_not_two(self) -> None:
        assert set(faults_of(redis_url="http://redis", redis_password=None)) == {"redis_url"}


@pytest.mark.usefixtures("urls")
class TestValues:
    """Settings accept values as people write them."""

    def test_those_of_a_feature_are_found_by_their_class(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MASTS", "3")
        settings = Settings.load([Ship])
        monkeypatch.setenv("MASTS", "4")
        assert settings.model_copy().of(Ship).masts == 3
        assert make().of(Ship).masts == 4

    def test_lists_are_separated_by_commas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ALLOWED_HOSTS", "a.example.com, b.example.com,")
        monkeypatch.setenv("TRUSTED_PROXIES", "")
        settings = Settings.load()
        assert settings.allowed_hosts == ("a.example.com", "b.example.com")
        assert settings.trusted_proxies == ()

    @pytest.mark.parametrize(
        ("rest", "wanted"),
        [
            ("db/drydock", None),
            ("db1:5432,db2:5433/drydock", "read-write"),
            ("db1,db2/drydock?target_session_attrs=any", "any"),
        ],
    )
    def test_of_several_hosts_the_primary_is_wanted(self, rest: str, wanted: str | None) -> None:
        settings = make(database_url=f"postgresql://drydock@{rest}", database_password=RANDOM)
        found = conninfo_to_dict(dsn_of(settings))
        assert found.get("target_session_attrs") == wanted
        assert (found["host"], found["password"]) == (re.sub(r":\d+|/.*", "", rest), RANDOM)

    @pytest.mark.parametrize(
        "proxy",
        ["*", "10.0.0.0/8", "10.1.2.3", "::1", "fd00::/8", "proxy", "db", "a-1.example.com"],
    )
    def test_a_proxy_is_an_address_a_network_or_a_name(self, proxy: str) -> None:
        assert make(trusted_proxies=proxy).trusted_proxies == (proxy,)

    @pytest.mark.parametrize("proxy", ["10.0.0.300", "10.0.0.1/8", "a b", "http://proxy", "-"])
    def test_no_other_text_is_a_proxy(self, proxy: str) -> None:
        assert set(faults_of(trusted_proxies=proxy)) == {"trusted_proxies"}

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
    def test_both_names_of_postgres_are_understood(self, scheme: str) -> None:
        settings = make(database_url=f"{scheme}://drydock@db/drydock")
        arguments = connect_arguments(settings, name="tests", limit=1)
        assert conninfo_to_dict(arguments)["host"] == "db"

    def test_logs_are_json_in_production_unless_told_otherwise(self) -> None:
        assert production().json_logs
        assert not production(log_format="console").json_logs
        assert not make().json_logs
        assert make(log_format="json").json_logs


class TestSecrets:
    """A secret is read from a file, and shown nowhere."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("app.config.SECRETS_FOLDER", tmp_path)
        return tmp_path

    def test_files_named_like_settings_are_read(self, folder: Path) -> None:
        (folder / "database_url").write_text(f"{DATABASE_URL}\n")
        (folder / "database_password").write_text(f"{RANDOM}\n")
        (folder / "redis_url").write_text(REDIS_URL)
        settings = Settings.load()
        assert settings.database_dsn == f"postgresql://drydock:{RANDOM}@db:5432/drydock"
        assert settings.redis_dsn == REDIS_URL

    @pytest.mark.usefixtures("urls")
    def test_a_variable_beside_a_file_is_refused_unless_it_is_empty(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "database_password").write_text(RANDOM)
        monkeypatch.setenv("DATABASE_PASSWORD", "")
        assert RANDOM in Settings.load().database_dsn
        monkeypatch.setenv("DATABASE_PASSWORD", "another")
        with pytest.raises(ConfigurationError, match="DATABASE_PASSWORD: is also a file") as caught:
            Settings.load()
        assert "another" not in str(caught.value)

    def test_a_file_that_is_no_text_is_refused_without_showing_it(self, folder: Path) -> None:
        (folder / "redis_url").write_bytes(b"\xff" + RANDOM.encode())
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
        with pytest.raises(ConfigurationError, match="DATABASE_URL") as caught:
            Settings.load()
        assert RANDOM not in str(caught.value)


class TestPasswordApart:
    """A password given apart replaces the one of the URL, whatever characters it has."""

    @given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
    def test_postgres_and_redis_get_it_unchanged(self, password: str) -> None:
        redis_url = "redis://worker:old@redis:6379/2"
        settings = make(database_password=password, redis_url=redis_url, redis_password=password)
        found = conninfo_to_dict(settings.database_dsn)
        assert found["password"] == password
        assert (found["user"], found["host"], found["dbname"]) == ("drydock", "db", "drydock")
        redis = parse_url(settings.redis_dsn)
        assert (redis["username"], redis["password"]) == ("worker", password)
        assert (redis["host"], redis["db"]) == ("redis", 2)

    def test_an_empty_one_is_none(self) -> None:
        settings = make(redis_url="redis://:of-the-url@redis:6379/0", redis_password="")
        assert parse_url(settings.redis_dsn)["password"] == "of-the-url"
