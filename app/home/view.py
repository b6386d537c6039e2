"""The words of the page at `/`. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.config import Settings
from app.health import Report
from app.infra.feature import Command, Feature
from app.infra.probes import Check, Status

NAMES = {"postgres": "Postgres", "migrations": "Schema", "redis": "Redis", "worker": "Worker"}
# What users notice while a part does not work.
MEANS = {
    "postgres": "Whatever needs data answers 503 until it is back.",
    "migrations": "This version takes no traffic until the schema fits.",
    "redis": "Requests take a little longer, and jobs wait.",
    "worker": "Jobs wait. Nothing is lost.",
}

# The page shows three commands: those of the features, then these.
IN_DEVELOPMENT = (
    Command("make test", "Run the tests, on a Postgres and a Redis of their own"),
    Command("make help", "See what else make can do"),
    Command("curl {url}/health", "Ask what monitors ask"),
)
# In production these work without a clone of the repository.
IN_PRODUCTION = (
    Command("curl {url}/health", "Ask what monitors ask"),
    Command("curl {url}/openapi.json", "Read the API's own description"),
    Command("python -m app token create --help", "Make a token, inside a container of the app"),
)
COMMANDS = 3
# What stands before them if they use $TOKEN.
TOKEN_IN_DEVELOPMENT = Command("TOKEN=$(cat .local/token)", "Take the token that make dev printed")
TOKEN_IN_PRODUCTION = Command("read -rs TOKEN", "Paste your token, which stays invisible")


@dataclass(frozen=True, slots=True)
class CheckView:
    """In production, `latency` and `note` are shown only to people with a token."""

    name: str
    status: Status
    word: str
    means: str
    latency: str
    note: str


def show_checks(report: Report) -> list[CheckView]:
    return [_show(name, check) for name, check in report.checks.items()]


def _show(name: str, check: Check) -> CheckView:
    works = check.status is Status.OK
    return CheckView(
        name=NAMES.get(name, name),
        status=check.status,
        word="works" if works else check.status,
        means="" if works else MEANS.get(name, ""),
        latency="" if check.latency_ms is None else f"{check.latency_ms:.1f} ms",
        note=check.error or (f"revision {check.revision}" if check.revision else ""),
    )


def headline(checks: Sequence[CheckView]) -> str:
    failing = [check.name for check in checks if check.status is not Status.OK]
    if not failing:
        return "Everything works."
    names = " and ".join(filter(None, [", ".join(failing[:-1]), failing[-1]]))
    return f"{names} {'needs' if len(failing) == 1 else 'need'} attention."


def show_commands(settings: Settings, features: Sequence[Feature]) -> list[Command]:
    production = settings.environment == "production"
    own = IN_PRODUCTION if production else IN_DEVELOPMENT
    commands = [*(command for feature in features for command in feature.commands), *own][:COMMANDS]
    if any("$TOKEN" in command.text for command in commands):
        commands.insert(0, TOKEN_IN_PRODUCTION if production else TOKEN_IN_DEVELOPMENT)
    return [
        replace(command, text=command.text.replace("{url}", settings.public_url))
        for command in commands
    ]
