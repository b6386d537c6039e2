"""Settings: where they come from, what production refuses, and how faults are reported."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from app.config import ConfigurationError, FeatureSettings, Settings
from app.infra.db import connect_arguments

ROOT = Path(__file__).parent.parent

DATABASE_URL = "postgresql://drydock@db:5432/drydock"
REDIS_URL = "redis://redis:6379/0"
RATE_FAULT = "must look like 300/minute (second, minute or hour)"
RANDOM = "q7Zr0vXn3kLw9TbY"  # sixteen characters, the fewest that production takes


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


class TestBadConfiguration:
    """Bad configuration is refused with one message that names every fault and its remedy."""

    FAULTY = (
        ("ENVIRONMENT", "production"),
        ("DATABASE_URL", "postgresql://drydock:change-me-please@db/drydock"),
        ("DEBUG", "true"),
        ("ALLOWED_HOSTS", "go.example.com,*"),
        ("DATABASE_POOL_SIZE", "0"),
        ("RATE_LIMIT_READ", "plenty"),
        ("PUBLIC_URL", "go.example.com"),
    )

    def test_a_command_prints_it_and_exits_with_2(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "app", "migrate"],
            check=False,
            cwd=ROOT,
            env={**os.environ, **dict(self.FAULTY)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        head, *faults, tail = done.stderr.splitlines()
        assert head == "Drydock can't start: 7 setting(s) need attention."
        assert sorted(line.split(":")[0].strip() for line in faults) == [
            "ALLOWED_HOSTS",
            "DATABASE_PASSWORD",
            "DATABASE_POOL_SIZE",
            "DEBUG",
            "PUBLIC_URL",
            "RATE_LIMIT_READ",
            "REDIS_URL",
        ]
        assert ".env.example" in tail
        assert "change-me-please" not in done.stderr

    def test_each_line_says_what_to_do_and_what_is_set_now(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REDIS_URL", REDIS_URL)
        monkeypatch.setenv("RATE_LIMIT_WRITE", "300/day")
        with pytest.raises(ConfigurationError) as caught:
            Settings.load()
        assert str(caught.value).splitlines()[1:-1] == [
            "  DATABASE_URL: is not set (now not set in the environment)",
            f"  RATE_LIMIT_WRITE: {RATE_FAULT} (now set in the environment)",
        ]

    def test_faults_of_features_are_in_the_same_message(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", DATABASE_URL)
        monkeypatch.setenv("MASTS", "none")
        with pytest.raises(ConfigurationError) as caught:
            Settings.load([Ship])
        faults = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:-1]]
        assert faults == ["REDIS_URL", "MASTS"]

    @pytest.mark.parametrize(
        "value",
        ["go.example.com", "ftp://go.example.com", "https://", "https://a/?b", "https://a/#b"],
    )
    def test_a_public_url_is_an_origin(self, value: str) -> None:
        with pytest.raises(ValidationError, match=r"https://go\.example\.com"):
            make(public_url=value)

    @pytest.mark.parametrize(
        "value", ["0/minute", "-1/minute", "1.5/minute", "10", "10/day", "/hour"]
    )
    def test_a_rate_has_a_number_and_a_unit(self, value: str) -> None:
        with pytest.raises(ValidationError, match="300/minute"):
            make(rate_limit_login=value)

    @pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql+asyncpg"])
    def test_a_database_url_names_no_driver(self, scheme: str) -> None:
        with pytest.raises(ValidationError, match="must begin with postgresql://"):
            make(database_url=f"{scheme}://drydock@db/drydock")

    def test_both_names_of_postgres_are_understood(self) -> None:
        for scheme in ("postgres", "postgresql"):
            settings = make(database_url=f"{scheme}://drydock@db/drydock")
            arguments = connect_arguments(settings, name="tests", statement_timeout=1)
            assert conninfo_to_dict(arguments)["host"] == "db"


class TestProduction:
    """Production refuses what only a developer may have."""

    def test_takes_secrets_that_are_long_and_random(self) -> None:
        assert production(allowed_hosts="go.example.com").environment == "production"

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

    def test_looks_at_a_password_in_the_url_too(self) -> None:
        url = "postgresql://drydock:{}@db/drydock"
        production(database_url=url.format(RANDOM), database_password=None)
        faults = faults_of(database_url=url.format("secret"), database_password=None)
        assert "is an example value" in faults["database_password"]

    def test_refuses_debug_and_a_wildcard_host(self) -> None:
        assert set(faults_of(debug=True, allowed_hosts="*")) == {"debug", "allowed_hosts"}

    def test_a_faulty_url_is_one_fault_and_not_two(self) -> None:
        assert set(faults_of(redis_url="http://redis", redis_password=None)) == {"redis_url"}


class TestValues:
    """Settings accept values as people write them, and don't change."""

    def test_those_of_a_feature_are_found_by_their_class(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", DATABASE_URL)
        monkeypatch.setenv("REDIS_URL", REDIS_URL)
        monkeypatch.setenv("MASTS", "3")
        settings = Settings.load([Ship])
        monkeypatch.setenv("MASTS", "4")
        assert settings.model_copy().of(Ship).masts == 3
        assert make().of(Ship).masts == 4

    def test_lists_are_separated_by_commas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", DATABASE_URL)
        monkeypatch.setenv("REDIS_URL", REDIS_URL)
        monkeypatch.setenv("ALLOWED_HOSTS", "a.example.com, b.example.com,")
        monkeypatch.setenv("TRUSTED_PROXIES", "")
        settings = Settings.load()
        assert settings.allowed_hosts == ("a.example.com", "b.example.com")
        assert settings.trusted_proxies == ()
        assert make(public_url="https://go.example.com/").public_url == "https://go.example.com"

    def test_nothing_changes_after_the_start(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            make().debug = True  # type: ignore[misc] # that is the point

    @pytest.mark.parametrize(
        ("environment", "log_format", "written"),
        [
            ("development", "auto", "console"),
            ("production", "auto", "json"),
            ("development", "json", "json"),
            ("production", "console", "console"),
        ],
    )
    def test_logs_are_json_in_production_unless_told_otherwise(
        self, environment: str, log_format: str, written: str
    ) -> None:
        settings = production(environment=environment, log_format=log_format)
        assert settings.json_logs is (written == "json")
