"""The registry of `make stage`: each clone has its own, and none stops that of another."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.sockets import unused_port
from tests.stack.registry import stop_stage
from tests.stack.source import copy_of_repository, run


@pytest.fixture
def port() -> Iterator[int]:
    port = unused_port()
    yield port
    stop_stage(port)


class TestTwoClones:
    """Neither `make clean` nor `make stage` of another clone stops the registry."""

    def test_it_stays(self, port: int, tmp_path: Path) -> None:
        first, second = (copy_of_repository(tmp_path / "a clone" / name) for name in ("1", "2"))
        start, settings = ["deploy/pipeline/stage", "--start"], {"STAGE_PORT": str(port)}
        run(start, cwd=first, env=settings)
        run(["make", "clean"], cwd=second, env=settings)
        said = run(start, cwd=second, env=settings, check=False)
        assert f"If port {port} is taken, choose another one: STAGE_PORT=5056" in said
        assert httpx.get(f"http://127.0.0.1:{port}/v2/").is_success
        run(["make", "clean"], cwd=first)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/v2/")
