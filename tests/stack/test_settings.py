"""Settings reach the containers: from .env, and from the shell."""

import json
from collections.abc import Iterator

import pytest

from app.config import Settings
from app.registry import SETTINGS
from tests.stack.source import run
from tests.stack.stack import Stack

CODE = ("app", "worker", "migrate")
SERVICE = {name.upper() for name in Settings.model_fields}
OF_FEATURES = {name.upper() for kind in SETTINGS for name in kind.model_fields}
# compose.yaml decides these. In .env some of them mean a port or a server of the host.
FIXED = {
    *("ENVIRONMENT", "DATABASE_URL", "REDIS_URL", "METRICS_HOST", "METRICS_PORT", "PORT"),
}
# The image sets these. If the shell had them, a build would have another version.
OF_IMAGE = {"GIT_SHA", "HEARTBEAT_FILE"}
# These are secret files. The service refuses to start if .env has one too.
PASSWORDS = {"DATABASE_PASSWORD", "REDIS_PASSWORD"}
# A setting that compose.yaml does not know, as a new feature has.
OWN = "SETTING_OF_A_NEW_FEATURE"


@pytest.fixture(params=["stack", "dev"])
def either(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Production and development, with a value in .env for each setting."""
    stack: Stack = request.getfixturevalue(request.param)
    dotenv = stack.source / ".env"
    names = SERVICE | OF_FEATURES | FIXED | {OWN}
    # The ports are the host's, and must be numbers.
    values = {name: "4444" if name.endswith("PORT") else f"file-{name}" for name in names}
    dotenv.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    yield stack
    dotenv.unlink()


class TestEverySetting:
    """Each setting has one way into app, worker and migrate, in production and in development."""

    def test_from_dotenv(self, either: Stack) -> None:
        expected = {name: f"file-{name}" for name in (SERVICE | OF_FEATURES | {OWN}) - FIXED}
        for service in CODE:
            found = configured(either, service)
            assert {name: found[name] for name in expected} == expected
            assert [name for name in FIXED if found[name] in {"4444", f"file-{name}"}] == []

    def test_a_variable_of_the_shell_wins(self, either: Stack) -> None:
        names = SERVICE - FIXED - OF_IMAGE - PASSWORDS
        shell = {name: f"shell-{name}" for name in names}
        for service in CODE:
            found = configured(either, service, **shell)
            assert {name: found[name] for name in names} == shell

    @pytest.mark.parametrize("service", CODE)
    def test_a_real_container_has_them(self, either: Stack, service: str) -> None:
        said = run_once(either, service, "env", LOG_LEVEL="shell-LOG_LEVEL")
        lines = set(said.splitlines())
        assert {f"{OWN}=file-{OWN}", "LOG_LEVEL=shell-LOG_LEVEL", "PORT=8000"} <= lines
        assert {f"{name}=file-{name}" for name in OF_FEATURES} <= lines

    @pytest.mark.parametrize("service", CODE)
    def test_a_password_in_dotenv_is_refused(self, either: Stack, service: str) -> None:
        (either.source / ".env").write_text("DATABASE_PASSWORD=from-dotenv\nREDIS_PASSWORD=too\n")
        with pytest.raises(AssertionError) as caught:
            run_once(either, service, "python", "-m", "app", "migrate")
        for name in PASSWORDS:
            assert f"{name}: is also a file /run/secrets/{name.lower()}" in str(caught.value)


class TestNoSetting:
    """What nobody sets keeps the service's default, and the image's."""

    def test_it(self, stack: Stack) -> None:
        found = dict(line.split("=", 1) for line in run_once(stack, "app", "env").splitlines())
        computed = {"PUBLIC_URL", "ALLOWED_HOSTS", "TRUSTED_PROXIES"}
        assert found.keys() & SERVICE == (FIXED & SERVICE) | OF_IMAGE | computed
        assert found["HEARTBEAT_FILE"].startswith("/tmp/")


def compose(stack: Stack, *words: str, **shell: str) -> str:
    """Run `docker compose` as a person does, with these variables of the shell and with .env."""
    files = [word for name in stack.files for word in ("--file", name)]
    needed = {name: value for name, value in stack.environment.items() if name not in SERVICE}
    command = ["docker", "compose", *files, *words]
    return run(command, cwd=stack.source, env={**needed, **shell})


def run_once(stack: Stack, service: str, *command: str, **shell: str) -> str:
    return compose(stack, "run", "--rm", "--no-deps", "-T", service, *command, **shell)


def configured(stack: Stack, service: str, **shell: str) -> dict[str, str]:
    """Return the variables that Compose gives to a service."""
    config = json.loads(compose(stack, "config", "--format", "json", **shell))
    found: dict[str, str] = config["services"][service]["environment"]
    return found
