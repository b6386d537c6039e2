"""The image's figures: `python -m template.figures`. Measured, not asserted: they need quiet.

Each is a median. Start and memory are measured in turns with a baseline, since a ratio says more of
the image than a time, which is this machine's.
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
    """Build a Dockerfile beside the image's own; return the image's name."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(dockerfile)
        run(["docker", "build", "--quiet", "--tag", images.name(tag), "."], cwd=Path(folder))
    return images.name(tag)


def added(docker: DockerClient, images: Images) -> float:
    """Megabytes of the image over its base. FROM leaves no base in the store: build one from it."""
    base = built(images, "base", f"FROM {BASE}\n")
    return (docker.image.inspect(images.name(ONE)).size - docker.image.inspect(base).size) / 1e6


def rebuild(images: Images) -> float:
    """Seconds of a build after one module got a comment."""
    module = images.source / "app/main.py"
    module.write_text(f"{module.read_text()}# {time.time()}\n")
    started = time.perf_counter()
    images.build("edited")
    return time.perf_counter() - started


def start(stack: Stack, image: str, *command: str) -> tuple[float, float]:
    """Seconds from docker run to the first answer, and the megabytes of an idle container."""
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
            rebuild(images)  # the first one warms what the later ones find warm
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
