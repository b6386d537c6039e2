"""Medians of interleaved runs, and how they are shown."""

from collections.abc import Mapping, Sequence
from statistics import median

from bench.load import Outcome

COLUMNS = "{:<32}{:>9}{:>17}{:>8}{:>10}{:>9}{:>8}{:>6}"


def table(runs: Mapping[str, Sequence[Outcome]], *, baseline: str) -> list[str]:
    """A line for each name, compared with the baseline in three ways.

    The first is the ratio of the medians. The second is the median of the ratios of each round,
    which suffers less from a machine that is slow for a while. The third is the server's CPU time
    for an answer, which suffers least from other programs.
    """
    rates = {name: [run.rate for run in outcomes] for name, outcomes in runs.items()}
    costs = {name: median(run.cost for run in outcomes) for name, outcomes in runs.items()}
    heads = ("", "answers/s", "min to max", "ratio", "pairwise", "CPU us", "ratio", "load")
    lines = [COLUMNS.format(*heads)]
    for name, found in rates.items():
        lines.append(
            COLUMNS.format(
                name,
                f"{median(found):,.0f}",
                f"{min(found):,.0f} to {max(found):,.0f}",
                f"{median(found) / median(rates[baseline]):.2f}",
                f"{pairwise(found, rates[baseline]):.2f}",
                f"{costs[name] * 1e6:,.0f}" if costs[name] else "-",
                f"{costs[baseline] / costs[name]:.2f}" if costs[name] else "-",
                f"{median(run.busy for run in runs[name]):.0%}",
            )
        )
    return lines


def pairwise(rates: Sequence[float], others: Sequence[float]) -> float:
    return median(rate / other for rate, other in zip(rates, others, strict=True))
