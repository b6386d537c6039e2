"""What the page shows, in words and coordinates. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from app.config import Settings
from app.health import Report
from app.infra.feature import Command, Feature
from app.infra.page.charts import Bar, bars, steps
from app.infra.probes import Check, Status
from app.infra.traffic import Hour

NAMES = {"postgres": "Postgres", "migrations": "Schema", "redis": "Redis", "worker": "Worker"}
WORDS = {
    Status.OK: "works",
    Status.DEGRADED: "degraded",
    Status.UNAVAILABLE: "unavailable",
}
# What it means for those who use the service, where a part does not work.
MEANS = {
    "postgres": "Whatever needs data answers 503 until it is back.",
    "migrations": "This version takes no traffic until the schema fits.",
    "redis": "Requests take a little longer, and jobs wait.",
    "worker": "Jobs wait. Nothing is lost.",
}

# On a machine that runs `make dev`; those of the features come first.
IN_DEVELOPMENT = (
    Command("make test", "Run the tests, on a Postgres and a Redis of their own"),
    Command("make init NAME=orders", "Give it a name of your own, everywhere"),  # template
    Command("curl {url}/health", "Ask what monitors ask"),
)
# Anywhere else: what works with nothing but an address.
IN_PRODUCTION = (
    Command("curl {url}/health", "Ask what monitors ask"),
    Command("curl {url}/openapi.json", "Read the API's own description"),
    Command("python -m app token create --help", "Make a token, inside a container of the app"),
)
COMMANDS = 3

NONE = "none"
HEIGHT = 40  # of a chart, in units of its view box; a minute is one unit wide


@dataclass(frozen=True, slots=True)
class CheckView:
    """`note` and `latency` are for those who run the service."""

    name: str
    status: Status
    word: str
    means: str
    latency: str
    note: str


def show_checks(report: Report) -> list[CheckView]:
    return [_show(name, check) for name, check in report.checks.items()]


def _show(name: str, check: Check) -> CheckView:
    return CheckView(
        name=NAMES[name],
        status=check.status,
        word=WORDS[check.status],
        means="" if check.status is Status.OK else MEANS[name],
        latency="" if check.latency_ms is None else duration(check.latency_ms / 1000),
        note=check.error or (f"revision {check.revision}" if check.revision else ""),
    )


def headline(checks: Sequence[CheckView]) -> str:
    amiss = [check.name for check in checks if check.status is not Status.OK]
    if not amiss:
        return "Everything works."
    names = " and ".join(filter(None, [", ".join(amiss[:-1]), amiss[-1]]))
    return f"{names} {'needs' if len(amiss) == 1 else 'need'} attention."


def show_commands(settings: Settings, features: Sequence[Feature]) -> list[Command]:
    own = IN_PRODUCTION if settings.environment == "production" else IN_DEVELOPMENT
    all_of_them = chain(chain.from_iterable(feature.commands for feature in features), own)
    return [
        Command(command.text.replace("{url}", settings.public_url), command.says)
        for command in list(all_of_them)[:COMMANDS]
    ]


class TrafficView:
    """The last hour as two charts and the numbers beside them."""

    height = HEIGHT

    def __init__(self, hour: Hour) -> None:
        self.shared = hour.shared
        self.minutes = len(hour.minutes)
        self.total = f"{hour.total:,}"
        requests = hour.requests
        self.peak = f"{max(requests):,}"
        self.now = f"{requests[-1]:,}"
        self.bars: list[Bar] = bars(requests, height=HEIGHT)
        self.labels = [
            f"{_ago(self.minutes - 1 - bar.column)}: {requests[bar.column]:,}" for bar in self.bars
        ]
        slow = hour.slow
        known = [value for value in slow if value is not None]
        self.slow = NONE if hour.overall_slow is None else duration(hour.overall_slow)
        self.slowest = duration(max(known)) if known else NONE
        self.steps = steps(slow, height=HEIGHT)


def _ago(minutes: int) -> str:
    return "this minute" if minutes == 0 else f"{minutes} min ago"


def duration(seconds: float) -> str:
    """Two or three digits: no more are true."""
    milliseconds = seconds * 1000
    if milliseconds < 10:  # noqa: PLR2004 -- where a tenth still is a digit that counts
        return f"{milliseconds:.1f} ms"
    if seconds < 1:
        return f"{milliseconds:.0f} ms"
    return f"{seconds:.1f} s"
