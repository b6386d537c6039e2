"""`python -m bench`: measure, check that it was true, and print a table.

It starts databases of its own, so the figures depend on nobody's data. Exit code 1 when an answer
was wrong or a click was not counted.
"""

import argparse
import platform
import sys
from dataclasses import dataclass

from bench import baseline
from bench.figures import table
from bench.laboratory import Laboratory, Server, can_pin
from bench.links import Links, message
from bench.load import Exchange, Job, Outcome

CONNECTIONS = 32
WARMUP = 0.3  # seconds
SCOPES = ("--scope=links:read", "--scope=links:write")

BASELINE = "FastAPI, a constant redirect"
REDIRECT = "redirect, click on disk"
EDGELESS = "redirect, all through FastAPI"
READ = "GET /api/v1/links/{slug}"
CREATE = "POST /api/v1/links"


@dataclass(frozen=True)
class Scenario:
    name: str
    server: Server
    job: Job


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run in each round")
    options = parser.parse_args()
    with Laboratory() as laboratory:
        print(f"Python {platform.python_version()}, {platform.platform()}")
        laboratory.command("migrate")
        token = laboratory.command("token", "create", "--name=bench", *SCOPES).strip()
        service = laboratory.serve("service", "app.main:create_app")
        links = Links(service.port, token)
        links.create()
        scenarios = prepare(laboratory, service, links, options.seconds)
        return measure(laboratory, links, scenarios, options.rounds)


def measure(laboratory: Laboratory, links: Links, scenarios: list[Scenario], rounds: int) -> int:
    runs: dict[str, list[Outcome]] = {scenario.name: [] for scenario in scenarios}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for scenario in scenarios:
            runs[scenario.name].append(laboratory.load(scenario.server, scenario.job))
    print("\n".join(table(runs, baseline=BASELINE)))
    laboratory.work()
    print(f"import: {links.import_rate():,.0f} rows/s")
    tell_conditions()
    clicks = sum(run.answered - run.wrong for name in (REDIRECT, EDGELESS) for run in runs[name])
    return judge([run for outcomes in runs.values() for run in outcomes], links, clicks)


def prepare(
    laboratory: Laboratory, service: Server, links: Links, seconds: float
) -> list[Scenario]:
    """The scenarios in the order of a round: what is compared most stands side by side."""
    constant = Exchange(
        message("GET", "/constant"), "HTTP/1.1 302 ", f"\r\nlocation: {baseline.TARGET}\r\n"
    )
    plain = laboratory.serve("baseline", "bench.baseline:app")
    edgeless = laboratory.serve("edgeless", "bench.edgeless:create_app")

    def scenario(name: str, server: Server, exchanges: list[Exchange]) -> Scenario:
        return Scenario(name, server, Job(server.port, exchanges, CONNECTIONS, WARMUP, seconds))

    redirects = links.redirects()
    return [
        scenario(BASELINE, plain, [constant]),
        scenario(REDIRECT, service, redirects),
        scenario(EDGELESS, edgeless, redirects),
        scenario(READ, service, links.reads()),
        scenario(CREATE, service, links.creations()),
    ]


def tell_conditions() -> None:
    print(
        f"\n{CONNECTIONS} connections; one uvicorn worker each with uvloop and httptools; every\n"
        "middleware on, a log line for each request into a file; Redis writes each append to disk\n"
        "before it answers. load: the share of a core that the load took; near 100 % it would be\n"
        "what is measured."
    )
    if not can_pin():
        print("This machine keeps no process on a core: servers and load disturbed each other.")


def judge(outcomes: list[Outcome], links: Links, clicks: int) -> int:
    wrong = sum(run.wrong for run in outcomes)
    counted = links.wait_until_counted(clicks)
    print(f"\nanswers: {sum(run.answered for run in outcomes):,}, of which wrong: {wrong}")
    print(f"redirects answered: {clicks:,}, clicks counted: {counted:,}")
    for run in outcomes:
        if run.wrong:
            print(f"\nthe first wrong answer:\n{run.first_wrong}")
            break
    return int(wrong > 0 or counted != clicks)


if __name__ == "__main__":
    raise SystemExit(main())
