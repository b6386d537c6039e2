"""Words and numbers of the page."""

import pytest

from app.config import Settings
from app.health import Report
from app.home.view import TrafficView, duration, headline, show_checks, show_commands
from app.infra.feature import Command, Feature
from app.infra.probes import Check, Status
from app.infra.traffic import BOUNDS, MINUTES, NOTHING, Hour


def report(**statuses: Status) -> Report:
    checks = {name: Check(status=status) for name, status in statuses.items()}
    return Report(status=Status.OK, version="0", checks=checks)


OK, DEGRADED, UNAVAILABLE = Status


class TestHeadline:
    """The first line is the answer."""

    @pytest.mark.parametrize(
        ("statuses", "said"),
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
    def test_it_names_what_does_not_work(self, statuses: dict[str, Status], said: str) -> None:
        assert headline(show_checks(report(**statuses))) == said


class TestChecks:
    """Each check says in words how it is, and what that means where it is not well."""

    def test_a_check_that_works_needs_no_explanation(self) -> None:
        check = Check(status=OK, latency_ms=0.84, revision="0002")
        (shown,) = show_checks(Report(status=OK, version="0", checks={"migrations": check}))
        assert (shown.name, shown.word, shown.means) == ("Schema", "works", "")
        assert (shown.latency, shown.note) == ("0.8 ms", "revision 0002")

    def test_one_that_does_not_says_what_follows(self) -> None:
        check = Check(status=UNAVAILABLE, error="no answer within 1.5 s")
        (shown,) = show_checks(Report(status=OK, version="0", checks={"postgres": check}))
        assert shown.means == "Whatever needs data answers 503 until it is back."
        assert (shown.latency, shown.note) == ("", "no answer within 1.5 s")


class TestDuration:
    """A time has as many digits as are true."""

    @pytest.mark.parametrize(
        ("seconds", "said"),
        [
            (0.00042, "0.4 ms"),
            (0.0099, "9.9 ms"),
            (0.0104, "10 ms"),
            (0.9876, "988 ms"),
            (1.25, "1.2 s"),
            (10, "10.0 s"),
        ],
    )
    def test_it(self, seconds: float, said: str) -> None:
        assert duration(seconds) == said


class TestCommands:
    """Three commands: those of the features first, and none of a developer's in production."""

    def test_a_feature_comes_first(self, settings: Settings) -> None:
        feature = Feature(name="x", commands=[Command("curl {url}/x", "Ask x")])
        shown = show_commands(settings, [feature])
        assert len(shown) == 3
        assert shown[0] == Command(f"curl {settings.public_url}/x", "Ask x")

    def test_braces_of_a_command_stay(self, settings: Settings) -> None:
        feature = Feature(name="x", commands=[Command("""curl -d '{"a": {}}' {url}""", "")])
        assert show_commands(settings, [feature])[0].text.startswith("""curl -d '{"a": {}}' http""")

    def test_production_needs_no_clone(self, settings: Settings) -> None:
        production = settings.model_copy(update={"environment": "production"})
        shown = show_commands(production, [])
        assert len(shown) == 3
        assert not any(command.text.startswith("make") for command in shown)


class TestTraffic:
    """The hour's figures, and none made up where nothing was asked."""

    def test_of_an_hour_without_requests(self) -> None:
        view = TrafficView(Hour([NOTHING] * MINUTES, shared=True))
        assert (view.total, view.peak, view.slow, view.slowest) == ("0", "0", "none", "none")
        assert (view.bars, view.steps) == ([], "")

    def test_of_one_with(self) -> None:
        quick = (10, *NOTHING[1:])
        slow = (*NOTHING[:5], 1200, *NOTHING[6:])
        view = TrafficView(Hour([*[NOTHING] * 58, slow, quick], shared=True))
        assert (view.total, view.peak, view.now) == ("1,210", "1,200", "10")
        assert [bar.column for bar in view.bars] == [58, 59]
        assert view.labels == ["1 min ago: 1,200", "this minute: 10"]
        low, high = BOUNDS[4] * 1000, BOUNDS[5] * 1000
        assert low < float(view.slow.removesuffix(" ms")) < high
        assert view.steps.startswith("M58 40V0.0h1V")
