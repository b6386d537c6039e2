"""`python -m bench`: measure, check that it was true, and print a table.

It starts databases of its own, so the figures depend on nobody's data. Exit code 1 when an answer
was wrong, or a scenario's own check failed.
"""

import argparse
import platform
import sys

from bench import baseline
from bench.figures import table
from bench.laboratory import Laboratory, can_pin
from bench.load import Exchange, Job, Outcome, request
from bench.scenarios import Row, prepare_all

CONNECTIONS = 32
WARMUP = 0.3  # seconds
BASELINE = "FastAPI, a constant redirect"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run in each round")
    options = parser.parse_args()
    with Laboratory() as laboratory:
        print(f"Python {platform.python_version()}, {platform.platform()}")
        laboratory.command("migrate")
        token = laboratory.command("token", "create", "--name=bench", "--all-scopes").strip()
        service = laboratory.serve("service", "app.main:create_app")
        scenarios = prepare_all(laboratory, service, token)
        rows = [plain_row(laboratory), *(row for scenario in scenarios for row in scenario.rows)]
        runs = measure(laboratory, rows, rounds=options.rounds, seconds=options.seconds)
        print("\n".join(table(runs, baseline=BASELINE)))
        tell_conditions()
        right = [scenario.check(laboratory, runs) for scenario in scenarios]
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


def tell_conditions() -> None:
    print(
        f"\n{CONNECTIONS} connections; one uvicorn worker each with uvloop and httptools; every\n"
        "middleware on, a log line for each request into a file; Redis writes each append to disk\n"
        "before it answers. load: the share of a core that the load took; near 100 % the load is\n"
        "what was measured."
    )
    if not can_pin():
        print("This machine keeps no process on a core: servers and load disturbed each other.")


def has_wrong_answers(runs: dict[str, list[Outcome]]) -> bool:
    outcomes = [run for some in runs.values() for run in some]
    wrong = [run.first_wrong for run in outcomes if run.wrong]
    answered = sum(run.answered for run in outcomes)
    print(f"\nanswers: {answered:,}, of which wrong: {sum(run.wrong for run in outcomes)}")
    if wrong:
        print(f"\nthe first wrong answer:\n{wrong[0]}")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
