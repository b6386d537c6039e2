"""Measures the image: `python -m template.figures`. Run it on a quiet machine; it asserts nothing.

Each figure is a median. Start and memory alternate with those of a baseline, because the ratio
depends less on the machine.
"""

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from python_on_whales import Container, DockerClient

from tests.polling import until
from tests.stack.images import ONE, Images, built_images
from tests.stack.source import copy_of_repository
from tests.stack.stack import Stack, execute, is_ready, production

RUNS = 5
LEAST = [
    *["gunicorn", "--config=/dev/null", "--worker-class=uvicorn_worker.UvicornWorker"],
    *["--bind=0.0.0.0:8000", "baseline:app"],
]
BASELINE = {Path(__file__).with_name("baseline.py"): "/srv/baseline.py"}
# Prints the bytes that belong to the processes of a container alone. It leaves out the memory that
# the kernel keeps for them, which differs between kernels.
HELD = """
import os, pathlib
kilobytes = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if int(process.name) != os.getpid():
        lines = (process / "smaps_rollup").read_text().splitlines()
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
print(1024 * kilobytes)
"""
TIMES = """
import json, os, subprocess, sys
times = []
for _ in range(9):
    child = subprocess.Popen(sys.argv[1:])
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, status
    times.append(usage.ru_utime + usage.ru_stime)
print(json.dumps(times))
"""

log = logging.getLogger("figures")


def report(name: str, values: Iterable[float], unit: str) -> None:
    log.info("%-48s %8.2f %s", name, statistics.median(values), unit)


def added(docker: DockerClient, images: Images) -> float:
    """Return how many megabytes the image adds to its base."""
    images.build("base", "--target", "base")
    sizes = [docker.image.inspect(images.name(tag)).size for tag in (ONE, "base")]
    return (sizes[0] - sizes[1]) / 1e6


def rebuild(images: Images) -> float:
    """Return the seconds of a build after a change of one module."""
    module = images.source / "app/main.py"
    module.write_text(f"{module.read_text()}# {time.time()}\n")
    started = time.perf_counter()
    images.build("edited")
    return time.perf_counter() - started


def cpu_of_probe(stack: Stack, service: str) -> float:
    """Return the seconds of CPU that a container's health check takes."""
    probe = stack.container(service).config.healthcheck
    assert probe is not None
    assert probe.test is not None
    times: list[float] = json.loads(stack.run_in(service, "python", "-c", TIMES, *probe.test[1:]))
    return statistics.median(times)


def held(container: Container) -> int:
    """Return the bytes that an idle container's processes hold."""
    return int(execute(container, "python", "-c", HELD))


def start(stack: Stack, image: str, *command: str) -> tuple[float, float]:
    """Return the seconds from docker run to the first answer, and the idle megabytes."""
    started = time.perf_counter()
    with stack.beside(image, *command, mounts=BASELINE) as container:
        until(partial(is_ready, container), within=30, every=0.005)
        took = time.perf_counter() - started
        time.sleep(3)
        return took, held(container) / 1e6


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("httpx", "python_on_whales"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    docker = DockerClient()
    with tempfile.TemporaryDirectory() as folder:
        source = copy_of_repository(Path(folder) / "source")
        with (
            built_images(docker, source) as images,
            production(source, Path(folder) / "stack", images.repository, ONE) as stack,
        ):
            report("image over its base", [added(docker, images)], "MB")
            rebuild(images)  # the first run fills the caches
            report("rebuild after an edit", [rebuild(images) for _ in range(RUNS)], "s")
            stack.up()
            for service in ("app", "worker"):
                report(f"health check of {service}, CPU", [cpu_of_probe(stack, service)], "s")
            image = images.name(ONE)
            turns = [(start(stack, image), start(stack, image, *LEAST)) for _ in range(RUNS)]
            for number, name in enumerate(("docker run to the first answer, s", "idle memory, MB")):
                for place, whose in enumerate(("ours", "the least service")):
                    report(f"{name}: {whose}", [turn[place][number] for turn in turns], "")


if __name__ == "__main__":
    main()
