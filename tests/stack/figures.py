"""The image's figures: `python -m tests.stack.figures`. Measured, not asserted: they need quiet.

Every figure is a median; what a machine under load does to them says nothing about the image.
Starts and memory are told beside those of a baseline, measured in turns: a ratio says more of the
image than a time, which is this machine's.
"""

import json
import logging
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from python_on_whales import DockerClient

from tests.sockets import unused_port
from tests.stack.images import BASE, ONE, Images, built_images
from tests.stack.source import copy_of_repository, run
from tests.stack.stack import Stack, production
from tests.stack.test_image_running import TIMES

RUNS = 5
COMPILE_ALL = "python -m compileall -q -j 0 $(python -c 'import sys; print(*sys.path[2:])')"
COPYING = "Dockerfile.copying"
READY = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

# The least that FastAPI and SQLAlchemy can be, on uvicorn.
BASELINE_FILE = Path(__file__).with_name("baseline.py")
BASELINE = ("uvicorn", "baseline:app", "--host", "0.0.0.0", "--no-access-log")

log = logging.getLogger("figures")


@dataclass(frozen=True)
class Subject:
    """Something to start again and again, and what came of it."""

    image: str
    command: tuple[str, ...] = ()
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def report(name: str, value: float, unit: str, goal: str) -> None:
    log.info("%-58s %8.2f %-3s (%s)", name, value, unit, goal)


def rebuild(images: Images, dockerfile: str = "Dockerfile") -> float:
    """Time a build after a comment was added to one module."""
    module = images.source / "app/main.py"
    module.write_text(f"{module.read_text()}# {time.time()}\n")
    started = time.perf_counter()
    images.build("edited", "--file", dockerfile)
    return time.perf_counter() - started


def compare_rebuilds(images: Images) -> None:
    """Rebuild in turns with a Dockerfile that only copies: no bytecode, and no second stage.

    Where an engine still holds the same layers from two builds without a cache, each export
    compares whole trees, in half a second or more: `docker builder prune` ends that.
    """
    (images.source / COPYING).write_text(f"FROM {BASE}\nWORKDIR /srv\nCOPY app app\n")
    for dockerfile in ("Dockerfile", COPYING):  # the first edit warms what later ones find warm
        rebuild(images, dockerfile)
    turns = [(rebuild(images), rebuild(images, COPYING)) for _ in range(RUNS)]
    ours, least = (statistics.median(times) for times in zip(*turns, strict=True))
    report("rebuild after a one-line edit", ours, "s", "at most 0.6")
    report("the same of a Dockerfile that only copies", least, "s", "0.26 where the goal was set")
    report("the one by the other", ours / least, "x", "at most 2.31")


@contextmanager
def served(
    stack: Stack, image: str, command_in_it: tuple[str, ...] = ()
) -> Iterator[tuple[str, float]]:
    """Run one app container beside the stack's db and redis; yield it and the time to its 200."""
    environment = stack.container("app").config.env or []
    ours = [pair for pair in environment if not pair.startswith(("PATH=", "HOSTNAME="))]
    port = unused_port()
    secrets = [
        f"{file}:/run/secrets/{file.name}:ro" for file in (stack.folder / "secrets").iterdir()
    ]
    name = f"{stack.name}-first"
    command = [
        *["docker", "run", "--detach", "--init", "--name", name, "--read-only"],
        *["--tmpfs", "/tmp", "--network", f"{stack.name}_front"],
        *["--network", f"{stack.name}_back", "--publish", f"127.0.0.1:{port}:8000"],
        *["--volume", f"{BASELINE_FILE}:/srv/baseline.py:ro"],
        *[word for secret in secrets for word in ("--volume", secret)],
        *[word for pair in ours for word in ("--env", pair)],
        image,
        *command_in_it,
    ]
    started = time.perf_counter()
    try:
        run(command, cwd=stack.folder)
        while not is_ready(port):
            time.sleep(0.005)
        yield name, time.perf_counter() - started
    finally:
        run(["docker", "rm", "--force", name], cwd=stack.folder)


def is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(READY)
            return connection.recv(16).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def memory(docker: DockerClient, name: str) -> float:
    """Megabytes that an idle container holds, as `docker stats` tells."""
    time.sleep(5)
    [found] = docker.container.stats([name])
    return found.memory_used / 1e6


def measure_in_turns(docker: DockerClient, stack: Stack, *subjects: Subject) -> None:
    """Whatever else the machine does meanwhile, it does to all of them."""
    for _ in range(RUNS):
        for subject in subjects:
            with served(stack, subject.image, subject.command) as (name, took):
                subject.seconds.append(took)
                subject.megabytes.append(memory(docker, name))


def compare(ours: Subject, baseline: Subject, bare: Subject) -> None:
    """Tell what was measured, and how many times the baseline's it is."""
    first = statistics.median(ours.seconds)
    least = statistics.median(baseline.seconds)
    report("docker run to the first 200", first, "s", "at most 0.8")
    report("the same of the baseline", least, "s", "0.61 where the goal was set")
    report("the one by the other", first / least, "x", "at most 1.31")
    report("ours without bytecode", statistics.median(bare.seconds), "s", "what it gains")
    held = statistics.median(ours.megabytes)
    least = statistics.median(baseline.megabytes)
    report("idle memory of the web side", held, "MB", "under 85")
    report("the same of the baseline", least, "MB", "68 where the goal was set")
    report("the one by the other", held / least, "x", "under 1.25")


def recompiled(images: Images, tag: str, command: str) -> str:
    """The first image's environment without its bytecode, and what a command then makes."""
    lines = f"FROM {images.name(ONE)}\nUSER 0\n"
    lines += "RUN find /opt /srv /usr -name __pycache__ -type d -prune -exec rm -rf {} + "
    lines += f"&& {command}\nUSER 10001:10001\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(lines)
        run(["docker", "build", "--quiet", "--tag", images.name(tag), "."], cwd=Path(folder))
    return images.name(tag)


def added(images: Images) -> float:
    """Megabytes of the image over its base. FROM leaves no base in the store: build one from it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(f"FROM {BASE}\n")
        run(["docker", "build", "--quiet", "--tag", images.name("base"), "."], cwd=Path(folder))
    ours, base = (docker_size(images.name(tag)) for tag in (ONE, "base"))
    return (ours - base) / 1e6


def docker_size(image: str) -> int:
    words = ["docker", "image", "inspect", "--format", "{{.Size}}", image]
    return int(run(words, cwd=Path.cwd()))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("python_on_whales").setLevel(logging.WARNING)
    docker = DockerClient()
    with tempfile.TemporaryDirectory() as folder:
        source = copy_of_repository(Path(folder) / "source")
        with (
            built_images(docker, source) as images,
            production(source, Path(folder) / "stack", images.repository, ONE) as stack,
        ):
            report("image over its base", added(images), "MB", "beside the release before")
            compare_rebuilds(images)
            stack.up()
            for service in ("app", "worker"):
                probe = stack.container(service).config.healthcheck
                command = probe.test[1:] if probe and probe.test else []
                said = stack.run_in(service, "python", "-c", TIMES, *command)
                cpu = 1000 * statistics.median(json.loads(said))
                report(f"health check of {service}, CPU", cpu, "ms", "under 50")
            ours = Subject(images.name(ONE))
            # The baseline's packages are as an installer leaves them: nothing stripped.
            baseline = Subject(recompiled(images, "plain", COMPILE_ALL), BASELINE)
            bare = Subject(recompiled(images, "without-bytecode", "true"))
            measure_in_turns(docker, stack, ours, baseline, bare)
            compare(ours, baseline, bare)


if __name__ == "__main__":
    main()
