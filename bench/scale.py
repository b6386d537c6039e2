"""How the read of one row scales: `make bench PLOT=docs/scale.svg`.

It measures an own feature's authenticated read with more clients, processes and rows, and draws the
rate and the latencies. All cores are shared by servers, load, Postgres and Redis.
"""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.laboratory import Laboratory, Server
from bench.load import Exchange, Job, Outcome, request
from bench.scenarios.items import ITEMS, fill_table, make_table

CLIENTS = (1, 8, 32, 128, 512)
PROCESSES = (1, 2, 4)
ROWS = (1_000, 10_000_000)
# The warm-up is long, because a busy server takes a second to accept hundreds of connections.
SECONDS, WARMUP = 2.0, 2.0
WIDTH, HEIGHT, LEFT, TOP = 260, 180, 60, 40
FIGURES: Mapping[str, Callable[[Outcome], float]] = {
    "right answers a second": lambda run: run.rate * (1 - refused(run)),
    "p50, ms": lambda run: run.median * 1e3,
    "p99, ms": lambda run: run.p99 * 1e3,
    "refused, %": lambda run: refused(run) * 100,
}
COLOURS = ("#1f6feb", "#d29922", "#cf222e")


@dataclass(frozen=True)
class Line:
    """One number of processes: an outcome for each number of clients."""

    processes: int
    outcomes: Sequence[Outcome]


def plot(laboratory: Laboratory, token: str, target: Path, *, rounds: int) -> None:
    """Measure, print a line for each point, and write the drawing to `target`."""
    make_table(laboratory, rows=0)
    app = "bench.scenarios.items:create_app"
    servers = [laboratory.serve(f"scale-{n}", app, processes=n) for n in PROCESSES]
    panels: list[str] = []
    for column, rows in enumerate(ROWS):
        fill_table(laboratory, rows=rows)
        lines = [
            Line(processes, measure(laboratory, token, server, rounds))
            for processes, server in zip(PROCESSES, servers, strict=True)
        ]
        for row, (title, read) in enumerate(FIGURES.items()):
            series = [[read(run) for run in line.outcomes] for line in lines]
            panels.append(draw(f"{title}, {rows:,} rows", series, column, row))
        for line in lines:
            for clients, run in zip(CLIENTS, line.outcomes, strict=True):
                found = "  ".join(f"{title}: {read(run):,.1f}" for title, read in FIGURES.items())
                print(f"{rows:,} rows, {line.processes} processes, {clients} clients  {found}")
    target.write_text(page(panels))


def measure(laboratory: Laboratory, token: str, server: Server, rounds: int) -> list[Outcome]:
    read = Exchange(request("GET", f"{ITEMS}/7", token=token), "HTTP/1.1 200 ", '"id":7')
    outcomes = []
    for clients in CLIENTS:
        job = Job(server.port, [read], clients, WARMUP, SECONDS)
        runs = [laboratory.load(server, job) for _ in range(rounds)]
        outcomes.append(
            Outcome(
                rate=median(run.rate for run in runs),
                median=median(run.median for run in runs),
                p99=median(run.p99 for run in runs),
                answered=sum(run.answered for run in runs),
                wrong=sum(run.wrong for run in runs),
            )
        )
    return outcomes


def refused(run: Outcome) -> float:
    """The share of answers that were a 503: their requests waited too long for a connection."""
    return run.wrong / max(1, run.answered)


def draw(title: str, series: Sequence[Sequence[float]], column: int, row: int) -> str:
    """One panel: a line for each series, over the number of clients; both begin at zero."""
    x0, y0 = LEFT + column * (WIDTH + LEFT), TOP + row * (HEIGHT + TOP + 20)
    top = max(max(values) for values in series) or 1.0
    step = WIDTH / (len(CLIENTS) - 1)
    parts = [
        text(x0, y0 - 10, title),
        text(x0 - 8, y0 + 8, f"{top:,.0f}", "end"),
        text(x0 - 8, y0 + HEIGHT, "0", "end"),
        f'<path d="M{x0} {y0}v{HEIGHT}h{WIDTH}" fill="none" stroke="#888"/>',
    ]
    for place, clients in enumerate(CLIENTS):
        parts.append(text(x0 + place * step, y0 + HEIGHT + 16, str(clients), "middle"))
    for values, colour in zip(series, COLOURS, strict=True):
        points = " ".join(
            f"{x0 + place * step:.0f},{y0 + HEIGHT * (1 - value / top):.0f}"
            for place, value in enumerate(values)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
    return "".join(parts)


def page(panels: Sequence[str]) -> str:
    width = len(ROWS) * (WIDTH + LEFT) + LEFT
    height = len(FIGURES) * (HEIGHT + TOP + 20) + 60
    machine = f"Python {platform.python_version()}, {platform.platform(terse=True)}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *panels,
            *legend(height - 40),
            text(LEFT, height - 12, f"below: clients. {machine}, {cores()} cores"),
            "</svg>\n",
        ]
    )


def legend(y: int) -> Iterator[str]:
    for place, (processes, colour) in enumerate(zip(PROCESSES, COLOURS, strict=True)):
        x = LEFT + place * 130
        yield f'<path d="M{x} {y - 4}h20" stroke="{colour}" stroke-width="2"/>'
        yield text(x + 26, y, f"{processes} process{'es' * (processes > 1)}")


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" {style}>{words}</text>'


def cores() -> int:
    return os.cpu_count() or 1
