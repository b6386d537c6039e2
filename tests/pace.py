"""Judges a promise in seconds on a machine that other programs use at the same time."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# A process of its own, so that neither a blocked event loop nor a thread of the test slows it down.
# It uses 10 % of a core, and prints how many times longer than its CPU time each step took.
PROBE = """
import time
while True:
    wall, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < 0.01:
        pass
    print((time.perf_counter() - wall) / 0.01, flush=True)
    time.sleep(0.09)
"""


@dataclass
class Stopwatch:
    """Measures parts of a block, in seconds."""

    took: dict[str, float] = field(default_factory=dict)  # the longest of each name

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.took[what] = max(self.took.get(what, 0.0), time.monotonic() - started)


@contextmanager
def within(limit: float) -> Iterator[Stopwatch]:
    """Assert that each measured part took at most `limit` seconds.

    If the machine was busy, it allows more: `limit` times the factor by which a process that only
    computes was slowed down at the worst moment of the block.
    """
    probe = [sys.executable, "-S", "-E", "-c", PROBE]
    with subprocess.Popen(probe, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            slowdowns = [float(process.stdout.readline())]
            stopwatch = Stopwatch()
            yield stopwatch
        finally:
            process.terminate()
        # The last line may be incomplete.
        slowdowns += [float(line) for line in process.stdout.read().splitlines()[:-1]]
    assert stopwatch.took, "nothing was measured"
    slow = {what: took for what, took in stopwatch.took.items() if took > limit * max(slowdowns)}
    assert not slow, f"longer than {limit} s: {slow}; the machine's factor: {max(slowdowns):.1f}"
