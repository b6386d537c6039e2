"""What the tests of the containers share. The end of the run removes all of it."""

import logging
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from tests.stack.development import checked_out, development
from tests.stack.images import FAULTS, NEWER, ONE, Images, built_images
from tests.stack.source import copy_of_repository, own_name
from tests.stack.stack import Stack, production

# A run that gets SIGTERM removes what it started. So does one whose shell ignores SIGINT, as in
# `make check-docker &`; the scripts that the tests interrupt would inherit that otherwise.
signal.signal(signal.SIGTERM, signal.default_int_handler)
signal.signal(signal.SIGINT, signal.default_int_handler)

# With --log-cli-level=INFO only the figures of the tests are shown.
for chatty in ("httpx", "python_on_whales"):
    logging.getLogger(chatty).setLevel(logging.WARNING)

STACKS = pytest.StashKey[list[Stack]]()


@pytest.fixture(scope="session")
def docker() -> DockerClient:
    return DockerClient()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout under umask 077."""
    folder = copy_of_repository(tmp_path_factory.mktemp("source"))
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    return folder


@pytest.fixture(scope="session")
def images(docker: DockerClient, source: Path) -> Iterator[Images]:
    with built_images(docker, source) as images:
        yield images


@pytest.fixture(scope="session")
def faulty_images(images: Images) -> None:
    for tag in FAULTS:
        images.derive(tag)


@pytest.fixture(scope="session")
def newer_image(images: Images) -> None:
    images.derive(NEWER)


@pytest.fixture(scope="session")
def stacks(request: pytest.FixtureRequest) -> list[Stack]:
    """The projects whose logs are shown when a test fails."""
    return request.config.stash.setdefault(STACKS, [])


@pytest.fixture(scope="session")
def stack(
    source: Path, images: Images, stacks: list[Stack], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Production, from empty volumes; each test leaves it as healthy as it found it."""
    folder = tmp_path_factory.mktemp("production") / "stack"
    with production(source, folder, images.repository, ONE) as stack:
        stacks.append(stack)
        stack.up()
        yield stack
        stacks.remove(stack)


@pytest.fixture(scope="session")
def dev_repository(docker: DockerClient, source: Path) -> Iterator[str]:
    """The development image, built once."""
    name = own_name()
    tag = f"{name}:dev"
    file = source / "Dockerfile.dev"
    docker.buildx.build(source, file=file, tags=tag, load=True, progress=False)
    yield name
    docker.image.remove(tag, force=True)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    return checked_out(tmp_path_factory.mktemp("checkout"), source)


@pytest.fixture(scope="session")
def dev(
    checkout: Path,
    dev_repository: str,
    stacks: list[Stack],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """Development, from empty volumes, with `checkout` as its source."""
    with development(checkout, tmp_path_factory.mktemp("dev") / "stack", dev_repository) as stack:
        stacks.append(stack)
        stack.up()
        yield stack
        stacks.remove(stack)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for stack in item.config.stash.get(STACKS, []):
            report.sections.append((f"containers of {stack.name}", stack.logs()))
    return report
