"""The number of files, and so of connections, that a process may open."""

import subprocess
import sys

import pytest

LIMITS = """
import resource, sys
from app.infra.capacity import raise_file_limit

resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
raise_file_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "then"), [(256, 8000, 4096), (256, 2000, 2000), (5000, 8000, 5000)]
)
def test_a_low_limit_is_raised(soft: int, hard: int, then: int) -> None:
    command = [sys.executable, "-c", LIMITS, str(soft), str(hard)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == [str(then), str(hard)]
