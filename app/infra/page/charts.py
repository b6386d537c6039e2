"""The geometry of small charts: numbers in, SVG coordinates out. How they look is CSS.

A value is a column one unit wide; heights run from 0 (top) to `height`.
"""

from collections.abc import Sequence
from typing import NamedTuple

GAP = 0.25  # of a column, left free beside each bar
LEAST = 0.04  # of the height: the smallest value above nothing can still be seen


class Bar(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    column: int


def bars(values: Sequence[float], *, height: float) -> list[Bar]:
    """A bar for each value above nothing, the highest as high as the chart."""
    highest = max(values, default=0)
    return [
        Bar(index + GAP / 2, round(height - tall, 2), 1 - GAP, round(tall, 2), index)
        for index, value in enumerate(values)
        if value > 0
        for tall in [height * max(value / highest, LEAST)]
    ]


def steps(values: Sequence[float | None], *, height: float) -> str:
    """The outline of level steps down to the ground, with a gap where there is no value."""
    highest = max((value for value in values if value), default=0)
    drawn = ""
    standing = False
    for column, value in enumerate([*values, None]):
        if value is None or not highest:
            drawn += f"V{height}" if standing else ""
            standing = False
            continue
        top = round(height - height * max(value / highest, LEAST), 2)
        drawn += f"V{top}h1" if standing else f"M{column} {height}V{top}h1"
        standing = True
    return drawn
