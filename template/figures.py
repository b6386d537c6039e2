"""Measures the image: `python -m template.figures`. Run it on a quiet machine; it asserts nothing.

Each figure is a median. Start and memory alternate with those of a baseline, because the ratio
depends less on the machine.
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from python_on_whales import DockerClient

from tests.polling import until
from tests.stack.images import BASE, ONE, Images, built_images
from tests.stack.source import copy_of_repository, run
from tests.stack.stack import Stack, execute, is_ready, production
from tests.stack.test_image_running import HELD, LEAST, cpu_of_probe

RUNS = 5

log = logging.getLogger("figures")


def report(name: str, values: Iterable[float], unit: str) -> None:
    log.info("%-48s %8.2f %s", name, statistics.median(values), unit)


def built(images: Images, tag: str, dockerfile: str) -> str:
    """Build another Dockerfile; return the name of the image."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(dockerfile)
        run(["docker", "build", "--quiet", "--tag", images.name(tag), "."], cwd=Path(folder))
    return images.name(tag)


def added(docker: DockerClient, images: Images) -> float:
    """Return the megabytes of the image over its base, which this builds to measure it."""
    base = built(images, "base", f"FROM {BASE}\n")
    return (docker.image.inspect(images.name(ONE)).size - docker.image.inspect(base).size) / 1e6


def rebuild(images: Images) -> float:
    """Return the seconds of a build after a change of one module."""
    module = images.source / "app/main.py"
    module.write_text(f"{module.read_text()}# {time.time()}\n")
    started = time.perf_counter()
    images.build("edited")
    return time.perf_counter() - started


def start(stack: Stack, image: str, *command: str) -> tuple[float, float]:
    """Return the seconds from docker run to the first answer, and the idle megabytes."""
    started = time.perf_counter()
    with stack.beside(image, *command) as container:
        until(partial(is_ready, container), within=30, every=0.005)
        took = time.perf_counter() - started
        time.sleep(3)
        return took, int(execute(container, "python", "-c", HELD)) / 1e6


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
