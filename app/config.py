"""The settings of the service: their types, their defaults, and the values that they refuse.

A feature has a settings class of its own. A value comes from an environment variable, or from a
file under /run/secrets with the same name in lower case. `.env.example` explains each setting.
"""

import os
import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    Field,
    PostgresDsn,
    PrivateAttr,
    RedisDsn,
    Secret,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from app.errors import fault_message

SECRETS_FOLDER = Path("/run/secrets")

# Production refuses these: an example value that was copied is no secret.
EXAMPLE_SECRETS = frozenset(
    {"changeme", "changethis", "change-me", "drydock", "example", "password", "postgres", "secret"}
)
# A name has a letter; an IPv4 address has none, and an IPv6 address has colons.
HOST_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
SHORTEST_SECRET = 16  # characters; `make secrets` writes longer ones

# An empty variable counts as not set, as for Compose: LOG_LEVEL= in .env means the default.
SOURCES = SettingsConfigDict(
    frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
)

# How long a request waits in the worst case before it answers that Postgres is away.
WAITS_FOR_POSTGRES = (
    "database_connect_timeout",
    "database_pool_timeout",
    "database_checkout_limit",
)

BASE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*", re.ASCII)
OWN_PATHS = ("api", "docs", "health", "openapi.json", "page", "static")

Seconds = Annotated[float, Field(gt=0, le=3600)]
Port = Annotated[int, Field(ge=0, le=65535)]
# The names are OpenTelemetry's.
Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


def _http_origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("must look like https://go.example.com, without query or fragment")
    path = parts.path.rstrip("/")
    if not BASE_PATH.fullmatch(path):
        raise ValueError("may have a path of letters, digits and . _ ~ -, such as /tools")
    if path.split("/")[1:2] and path.split("/")[1] in OWN_PATHS:
        raise ValueError(f"must not have a path of the service itself: {', '.join(OWN_PATHS)}")
    return value.rstrip("/")


def _browser_origin(value: str) -> str:
    parts = urlsplit(value)
    if value != "*" and (parts.path or parts.username or value != _http_origin(value).lower()):
        raise ValueError(f"must list origins such as https://app.example.com; {value} is none")
    return value


class ConfigurationError(Exception):
    """The settings can't be used. The message lists every fault with its remedy."""


class FeatureSettings(BaseSettings):
    """The settings of one feature, which subclasses this and declares it as `Feature.settings`."""

    model_config = SOURCES


OfFeature = TypeVar("OfFeature", bound=FeatureSettings)
AnySettings = TypeVar("AnySettings", bound=BaseSettings)


class Settings(BaseSettings):
    """What the service runs with. Frozen: nothing changes it after the start."""

    model_config = SOURCES

    # This is the first field, because the validators of later fields read it.
    environment: Literal["development", "production"] = "development"
    debug: bool = False
    git_sha: str = "development"

    database_url: Secret[PostgresDsn]
    database_password: Annotated[SecretStr | None, Field(validate_default=True)] = None
    database_pooled: bool = False
    database_migration_url: Secret[PostgresDsn] | None = None
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    database_connect_timeout: Seconds = 0.7
    database_pool_timeout: Seconds = 0.5
    database_checkout_limit: Seconds = 1.5
    database_give_up_after: Annotated[Seconds, Field(validate_default=True)] = 3.0
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    accept_newer_schema: bool = True

    redis_url: Secret[RedisDsn]
    redis_password: Annotated[SecretStr | None, Field(validate_default=True)] = None
    redis_timeout: Seconds = 0.1

    public_url: Annotated[str, AfterValidator(_http_origin)] = "http://127.0.0.1:8000"
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, Field(min_length=1)] = (
        "localhost",
        "127.0.0.1",
    )
    allowed_origins: Annotated[
        tuple[Annotated[str, AfterValidator(_browser_origin)], ...], NoDecode
    ] = ()
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 256
    max_body_bytes: Annotated[int, Field(ge=1024)] = 65_536
    max_upload_bytes: Annotated[int, Field(ge=1024)] = 10_485_760
    rate_limit_read: str = "1200/minute"
    rate_limit_write: str = "300/minute"
    rate_limit_login: str = "30/minute"
    rate_limit_miss: str = "600/minute"
    idempotency_hours: Annotated[int, Field(ge=1, le=8760)] = 24

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    listen_address: str = "0.0.0.0"  # noqa: S104 -- in a container, on every address
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9100

    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(_http_origin)] | None = None
    otel_exporter_otlp_headers: SecretStr | None = None
    otel_service_name: str = "drydock"
    otel_traces_sampler: Sampler = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0

    web_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    heartbeat_file: Path | None = None
    shutdown_grace: Annotated[int, Field(ge=1, le=3600)] = 25

    _of_features: dict[type[FeatureSettings], FeatureSettings] = PrivateAttr(default_factory=dict)

    @field_validator("allowed_hosts", "allowed_origins", "trusted_proxies", mode="before")
    @classmethod
    def split_lists(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            if proxy != "*" and not HOST_NAME.fullmatch(proxy):
                try:
                    ip_network(proxy)
                except ValueError:
                    raise ValueError(
                        f"must list addresses, networks or host names; {proxy} is none"
                    ) from None
        return value

    @field_validator("database_url", "database_migration_url")
    @classmethod
    def refuse_other_dialects(cls, value: Secret[PostgresDsn] | None) -> Secret[PostgresDsn] | None:
        scheme = value.get_secret_value().scheme if value else "postgresql"
        if scheme not in {"postgresql", "postgres"}:
            raise ValueError(f"begins with {scheme}:// and must begin with postgresql://")
        return value

    @field_validator("rate_limit_read", "rate_limit_write", "rate_limit_login", "rate_limit_miss")
    @classmethod
    def check_rate(cls, value: str) -> str:
        count, _, unit = value.partition("/")
        if not count.isdecimal() or int(count) < 1 or unit not in {"second", "minute", "hour"}:
            raise ValueError("must look like 300/minute (second, minute or hour)")
        return value

    @field_validator("database_give_up_after")
    @classmethod
    def refuse_longer_waits(cls, value: float, info: ValidationInfo) -> float:
        total = round(sum(info.data.get(name, 0.0) for name in WAITS_FOR_POSTGRES), 3)
        if total > value:
            names = " + ".join(name.upper() for name in WAITS_FOR_POSTGRES)
            raise ValueError(f"must be at least {names}, which is {total:g}, and is {value:g}")
        return value

    @field_validator("debug")
    @classmethod
    def refuse_debug_in_production(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic's signature
        if value and _production(info):
            raise ValueError("shows internals to everybody: unset it in production")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def refuse_any_host_in_production(
        cls, value: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        if "*" in value and _production(info):
            raise ValueError("'*' accepts forged Host headers: name the hosts you serve")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def refuse_any_origin_in_production(
        cls, value: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        if "*" in value and _production(info):
            raise ValueError("'*' lets every web page read answers: name the origins of yours")
        return value

    @field_validator("database_password", "redis_password")
    @classmethod
    def refuse_two_sources(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        file = SECRETS_FOLDER / str(info.field_name)
        if os.environ.get(file.name.upper()) and file.is_file():
            raise ValueError(f"is also a file {file}: remove the variable, also from .env")
        return value

    @field_validator("database_password", "redis_password")
    @classmethod
    def refuse_weak_secret_in_production(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        url_field = str(info.field_name).replace("password", "url")
        if not _production(info) or url_field not in info.data:
            return value
        url = info.data[url_field].get_secret_value()
        secret = value.get_secret_value() if value else urlsplit(str(url)).password
        where = f"a file {SECRETS_FOLDER}/{info.field_name} (`make secrets` writes one)"
        if not secret:
            raise ValueError(f"is missing: put it into {where}")
        if secret.lower() in EXAMPLE_SECRETS or secret.lower().startswith("change"):
            raise ValueError(f"is an example value: put a random one into {where}")
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"is shorter than {SHORTEST_SECRET} characters: use a longer one")
        return value

    @property
    def base_path(self) -> str:
        """The path of PUBLIC_URL, such as /tools; usually empty."""
        return urlsplit(self.public_url).path

    @property
    def json_logs(self) -> bool:
        if self.log_format == "auto":
            return self.environment == "production"
        return self.log_format == "json"

    @property
    def traced(self) -> bool:
        return self.otel_exporter_otlp_endpoint is not None

    @property
    def database_dsn(self) -> str:
        """The URL with the password in it. Never log it."""
        return _with_password(str(self.database_url.get_secret_value()), self.database_password)

    def for_migrations(self) -> Self:
        """These settings, connected directly to Postgres. Raises `ConfigurationError`.

        A password in DATABASE_MIGRATION_URL wins, since its role may be another one.
        """
        url = self.database_migration_url
        if url is None:
            if self.database_pooled:
                raise ConfigurationError(
                    "A migration holds a lock and settings of its session, which a pooler gives to "
                    "other clients. Set DATABASE_MIGRATION_URL to a URL of Postgres itself."
                )
            return self
        own = urlsplit(str(url.get_secret_value())).password
        password = None if own else self.database_password
        changed = {"database_url": url, "database_password": password, "database_pooled": False}
        return self.model_copy(update=changed)

    @property
    def redis_dsn(self) -> str:
        """The URL with the password in it. Never log it."""
        return _with_password(str(self.redis_url.get_secret_value()), self.redis_password)

    def of(self, kind: type[OfFeature]) -> OfFeature:
        """The settings of a feature, by their class. If `load` did not read them, this does."""
        found = self._of_features.get(kind)
        return found if isinstance(found, kind) else kind()

    @classmethod
    def load(cls, of_features: Iterable[type[FeatureSettings]] = ()) -> Self:
        """Read the environment and the secret files, for these settings and those of features.

        Raises `ConfigurationError` with one message that names every fault of all of them.
        """
        folder = SECRETS_FOLDER if SECRETS_FOLDER.is_dir() else None
        faults: list[ErrorDetails] = []
        own = _read(cls, folder, faults)
        others = [_read(kind, folder, faults) for kind in of_features]
        if own is None or faults:
            raise ConfigurationError(_explain(faults))
        own._of_features.update({type(other): other for other in others if other})  # noqa: SLF001 -- our own
        return own


def _read(
    kind: type[AnySettings], folder: Path | None, faults: list[ErrorDetails]
) -> AnySettings | None:
    """Read one class of settings. If values are invalid, add the faults to `faults`."""
    try:
        return kind(_secrets_dir=folder)
    except ValidationError as error:
        faults += error.errors(include_input=False, include_url=False)
        return None
    except (SettingsError, OSError) as error:
        # pydantic-settings raises these for secret files that it can't read.
        raise ConfigurationError(
            f"Drydock can't start: {error.__cause__ or error}. "
            f"Let uid {os.getuid()} read the secret files, for example: chmod 644, in a folder "
            "of mode 700."
        ) from None


def _production(info: ValidationInfo) -> bool:
    return info.data.get("environment") == "production"


def _with_password(url: str, password: SecretStr | None) -> str:
    """The URL with this password, if there is one."""
    if not password:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = quote(parts.username or "", safe="")
    netloc = f"{user}:{quote(password.get_secret_value(), safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))


def _explain(faults: Sequence[ErrorDetails]) -> str:
    """One line for each fault. It begins with the name of the variable to change."""
    lines = []
    for fault in faults:
        name = str(fault["loc"][0]).upper() if fault["loc"] else "SETTINGS"
        message = "is not set"
        if fault["type"] != "missing":
            set_as = "set" if name in os.environ else "not set"
            message = f"{fault_message(fault)} (now {set_as} in the environment)"
        lines.append(f"  {name}: {message}")
    head = f"Drydock can't start: {len(lines)} setting(s) need attention."
    return "\n".join([head, *lines, "Each setting is explained in .env.example."])
