"""`python -m bench`: measure, check every answer, and print a table.

It starts databases of its own, so the figures depend on nobody's data. Exit code 1 when an answer
was wrong, or a scenario's own check failed.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles

from bench import baseline, scale
from bench.laboratory import Laboratory, open_laboratory
from bench.load import Exchange, Job, Outcome, request
from bench.scenarios import Row, Runs, prepare_all

CONNECTIONS = 32
WARMUP = 0.3  # seconds
CONSTANT = "FastAPI, a constant redirect"
COLUMNS = "{:<32}{:>10}{:>9}{:>14}{:>9}{:>14}{:>8}{:>8}{:>6}"
CONDITIONS = f"""
{CONNECTIONS} connections; one uvicorn worker each with uvloop and httptools; every middleware on, a
log line for each request into a file; Redis writes each append to disk before it answers.

rate: answers a second. CPU: of the server, for an answer. beside: the row that x compares with; the
median of the ratios of each round, and ± half of the spread of their middle half. ~ marks one
that is smaller than its spread: no difference was measured. p50, p99: until an answer. load: the
share of a core that the load took; near 100 % the load was the limit, not the service."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run in each round")
    parser.add_argument("--plot", type=Path, help="measure how a read scales, and draw it here")
    options = parser.parse_args()
    with open_laboratory(pinned=options.plot is None) as laboratory:
        print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
        print("load average before: {:.1f} {:.1f} {:.1f}".format(*os.getloadavg()))
        laboratory.command("migrate")
        token = laboratory.command("token", "create", "--name=bench", "--all-scopes").strip()
        if options.plot is not None:
            scale.plot(laboratory, token, options.plot, rounds=min(3, options.rounds))
            return 0
        service = laboratory.serve("service", "app.main:create_app")
        scenarios = prepare_all(laboratory, service, token)
        rows = [plain_row(laboratory), *(row for scenario in scenarios for row in scenario.rows)]
        memory = service.memory()
        runs = measure(laboratory, rows, rounds=options.rounds, seconds=options.seconds)
        print("\n".join(table(rows, runs)), CONDITIONS, sep="\n")
        if not laboratory.pins:
            print("Servers and load disturbed each other: no process can be kept on one core here.")
        answered = sum(
            run.answered for row in rows if row.server is service for run in runs[row.name]
        )
        print(f"memory: {memory:.0f} MB at the start, {service.memory():.0f} MB after {answered:,}")
        right = [scenario.check(runs) for scenario in scenarios]
        return int(has_wrong_answers(runs) or not all(right))


def plain_row(laboratory: Laboratory) -> Row:
    """What everything else is compared with."""
    plain = laboratory.serve("baseline", "bench.baseline:create_app")
    holds = f"\r\nlocation: {baseline.TARGET}\r\n"
    return Row(CONSTANT, plain, [Exchange(request("GET", "/constant"), "HTTP/1.1 302 ", holds)])


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


def table(rows: Sequence[Row], runs: Runs) -> Iterator[str]:
    """A line for each row.

    The ratios of the rounds suffer less than those of the medians from a machine that is slow for a
    while. The CPU time suffers least from other programs.
    """
    yield COLUMNS.format(
        "", "rate", "min", "x beside", "CPU us", "x beside", "p50 ms", "p99 ms", "load"
    )
    for row in rows:
        outcomes, others = runs[row.name], runs[row.beside or CONSTANT]
        rates = [run.rate for run in outcomes]
        yield COLUMNS.format(
            row.name,
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f}",
            ratio([run.rate for run in outcomes], [run.rate for run in others]),
            f"{median(run.cost for run in outcomes) * 1e6:,.0f}",
            ratio([run.cost for run in outcomes], [run.cost for run in others]),
            f"{median(run.median for run in outcomes) * 1e3:.1f}",
            f"{median(run.p99 for run in outcomes) * 1e3:.1f}",
            f"{median(run.busy for run in outcomes):.0%}",
        )


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The median ratio of the rounds and its spread, as 1.08 ±0.03; with ~ if it may be 1."""
    found = [one / other for one, other in zip(ours, theirs, strict=True) if other]
    if not found:
        return "-"
    first, middle, last = quantiles(found, n=4) if len(found) > 1 else found * 3
    spread = (last - first) / 2
    sign = "~" if spread and abs(middle - 1) < spread else ""
    return f"{sign}{middle:.2f} ±{spread:.2f}"


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
