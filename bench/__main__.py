"""`python -m bench`: measure, check every answer, and print a table.

It starts databases of its own, so the figures depend on nobody's data. Exit code 1 when an answer
was wrong, or a scenario's own check failed.
"""

import argparse
import platform
import sys
from collections.abc import Iterator
from statistics import median

from bench import baseline
from bench.laboratory import Laboratory, open_laboratory
from bench.load import Exchange, Job, Outcome, request
from bench.scenarios import Row, Runs, prepare_all

CONNECTIONS = 32
WARMUP = 0.3  # seconds
BASELINE = "FastAPI, a constant redirect"
COLUMNS = "{:<32}{:>9}{:>17}{:>8}{:>9}{:>8}{:>6}"
CONDITIONS = f"""
{CONNECTIONS} connections; one uvicorn worker each with uvloop and httptools; every middleware on, a
log line for each request into a file; Redis writes each append to disk before it answers. load: the
share of a core that the load took; near 100 % the load was the limit, not the service."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run in each round")
    options = parser.parse_args()
    with open_laboratory() as laboratory:
        print(f"Python {platform.python_version()}, {platform.platform()}")
        laboratory.command("migrate")
        token = laboratory.command("token", "create", "--name=bench", "--all-scopes").strip()
        service = laboratory.serve("service", "app.main:create_app")
        scenarios = prepare_all(laboratory, service, token)
        rows = [plain_row(laboratory), *(row for scenario in scenarios for row in scenario.rows)]
        runs = measure(laboratory, rows, rounds=options.rounds, seconds=options.seconds)
        print("\n".join(table(runs)), CONDITIONS, sep="\n")
        if not laboratory.pins:
            print("Servers and load disturbed each other: no process can be kept on one core here.")
        right = [scenario.check(runs) for scenario in scenarios]
        return int(has_wrong_answers(runs) or not all(right))


def plain_row(laboratory: Laboratory) -> Row:
    """What everything else is compared with."""
    plain = laboratory.serve("baseline", "bench.baseline:app")
    holds = f"\r\nlocation: {baseline.TARGET}\r\n"
    return Row(BASELINE, plain, [Exchange(request("GET", "/constant"), "HTTP/1.1 302 ", holds)])


def measure(
    laboratory: Laboratory, rows: list[Row], *, rounds: int, seconds: float
) -> dict[str, list[Outcome]]:
    """Load the rows one after the other, again in each round."""
    runs: dict[str, list[Outcome]] = {row.name: [] for row in rows}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for row in rows:
            job = Job(row.server.port, row.exchanges, CONNECTIONS, WARMUP, seconds)
            runs[row.name].append(laboratory.load(row.server, job))
    return runs


def table(runs: Runs) -> Iterator[str]:
    """A line for each name, compared with the baseline in two ways.

    The first is the median of the ratios of each round, which suffers less than the ratio of the
    medians from a machine that is slow for a while. The second is the server's CPU time for an
    answer, which suffers least from other programs.
    """
    plain = runs[BASELINE]
    plain_cost = median(run.cost for run in plain)
    yield COLUMNS.format("", "answers/s", "min to max", "ratio", "CPU us", "ratio", "load")
    for name, outcomes in runs.items():
        rates = [run.rate for run in outcomes]
        ratios = [run.rate / other.rate for run, other in zip(outcomes, plain, strict=True)]
        cost = median(run.cost for run in outcomes)
        yield COLUMNS.format(
            name,
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{median(ratios):.2f}",
            f"{cost * 1e6:,.0f}" if cost else "-",
            f"{plain_cost / cost:.2f}" if cost else "-",
            f"{median(run.busy for run in outcomes):.0%}",
        )


def has_wrong_answers(runs: Runs) -> bool:
    outcomes = [run for some in runs.values() for run in some]
    wrong = [run.first_wrong for run in outcomes if run.wrong]
    answered = sum(run.answered for run in outcomes)
    print(f"\nanswers: {answered:,}, of which wrong: {sum(run.wrong for run in outcomes)}")
    if wrong:
        print(f"\nthe first wrong answer:\n{wrong[0]}")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
