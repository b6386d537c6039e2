"""The words of the page."""

import pytest

from app.config import Settings
from app.health import Report
from app.home.view import headline, show_checks, show_commands
from app.infra.feature import Command, Feature
from app.infra.probes import Check, Status

OK, DEGRADED, UNAVAILABLE = Status


class TestWords:
    """The headline names the parts that do not work. A feature's commands come first."""

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
    def test_headline(self, statuses: dict[str, Status], expected: str) -> None:
        checks = {name: Check(status=status) for name, status in statuses.items()}
        assert headline(show_checks(Report(status=OK, version="0", checks=checks))) == expected

    def test_commands(self, settings: Settings) -> None:
        feature = Feature(name="x", commands=[Command("""curl -d '{"a": {}}' {url}""", "Ask x")])
        shown = show_commands(settings, [feature])
        assert len(shown) == 3
        assert shown[0].text == f"""curl -d '{{"a": {{}}}}' {settings.public_url}"""

    @pytest.mark.parametrize("environment", ["development", "production"])
    def test_what_uses_a_token_comes_after_it(self, settings: Settings, environment: str) -> None:
        feature = Feature(name="x", commands=[Command("curl -H $TOKEN {url}", "Ask x")])
        shown = show_commands(settings.model_copy(update={"environment": environment}), [feature])
        assert "TOKEN" in shown[0].text
        assert "$TOKEN" in shown[1].text
        assert len(shown) == 4
