"""The words of the page."""

import pytest

from app.config import Settings
from app.health import Report
from app.home.view import duration, headline, show_checks, show_commands
from app.infra.feature import Command, Feature
from app.infra.probes import Check, Status

OK, DEGRADED, UNAVAILABLE = Status


def report(**checks: Check) -> Report:
    return Report(status=OK, version="0", checks=checks)


class TestHeadline:
    """The headline names the parts that do not work."""

    @pytest.mark.parametrize(
        ("statuses", "expected"),
        [
            ({"postgres": OK, "redis": OK}, "Everything works."),
            ({"postgres": OK, "redis": UNAVAILABLE}, "Redis needs attention."),
            ({"redis": UNAVAILABLE, "worker": DEGRADED}, "Redis and Worker need attention."),
            (
                {"postgres": UNAVAILABLE, "migrations": UNAVAILABLE, "redis": UNAVAILABLE},
                "Postgres, Schema and Redis need attention.",
            ),
        ],
    )
    def test_it(self, statuses: dict[str, Status], expected: str) -> None:
        checks = {name: Check(status=status) for name, status in statuses.items()}
        assert headline(show_checks(report(**checks))) == expected


class TestChecks:
    """A check that works shows its latency. One that fails shows what that means."""

    def test_it(self) -> None:
        works = Check(status=OK, latency_ms=0.84, revision="0002")
        fails = Check(status=UNAVAILABLE, error="no answer within 1.5 s")
        schema, postgres = show_checks(report(migrations=works, postgres=fails))
        assert (schema.name, schema.word, schema.means) == ("Schema", "works", "")
        assert (schema.latency, schema.note) == ("0.8 ms", "revision 0002")
        assert postgres.means == "Whatever needs data answers 503 until it is back."
        assert (postgres.latency, postgres.note) == ("", "no answer within 1.5 s")


class TestDuration:
    """Small durations have one decimal."""

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(0.0099, "9.9 ms"), (0.0104, "10 ms"), (0.9876, "988 ms"), (1.25, "1.2 s")],
    )
    def test_it(self, seconds: float, expected: str) -> None:
        assert duration(seconds) == expected


class TestCommands:
    """The page shows three commands, those of the features first."""

    def test_a_feature_comes_first_and_its_braces_stay(self, settings: Settings) -> None:
        feature = Feature(name="x", commands=[Command("""curl -d '{"a": {}}' {url}""", "Ask x")])
        shown = show_commands(settings, [feature])
        assert len(shown) == 3
        assert shown[0].text == f"""curl -d '{{"a": {{}}}}' {settings.public_url}"""

    def test_production_shows_none_that_needs_a_clone(self, settings: Settings) -> None:
        production = settings.model_copy(update={"environment": "production"})
        assert not any(command.text.startswith("make") for command in show_commands(production, []))
