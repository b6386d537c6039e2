"""Batcher: which callers share a run, and which get its failure."""

import asyncio

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from app.errors import Overloaded
from app.features.links.batching import Batcher
from tests.polling import PATIENCE


class Runs:
    """Doubles numbers. A test can make it wait (`go_on`) or fail (`fault`)."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.fault: BaseException | None = None

    async def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        await self.go_on.wait()
        if self.fault is not None:
            raise self.fault
        return [2 * item for item in items]


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def batcher(runs: Runs) -> Batcher[int, int]:
    return Batcher(runs, largest=3, most_waiting=100)


async def ask(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Ask for each at the same moment, and return once all are waiting."""
    tasks = [asyncio.create_task(batcher.ask(item)) for item in items]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


class TestBatches:
    """One batch runs at a time. Items that arrive meanwhile form the next."""

    async def test_those_of_one_moment_share_a_run(
        self, batcher: Batcher[int, int], runs: Runs
    ) -> None:
        assert await asyncio.gather(*(batcher.ask(item) for item in (1, 2, 3))) == [2, 4, 6]
        assert runs.batches == [[1, 2, 3]]

    async def test_a_run_has_the_request_id_of_no_caller(self) -> None:
        async def run(items: list[int]) -> list[dict[str, str]]:
            return [get_contextvars() for _ in items]

        batcher: Batcher[int, dict[str, str]] = Batcher(run, largest=3, most_waiting=100)
        with bound_contextvars(request_id="of one caller"):
            assert await batcher.ask(1) == {}

    async def test_what_arrives_during_a_run_waits_for_the_next(
        self, batcher: Batcher[int, int], runs: Runs
    ) -> None:
        runs.go_on.clear()
        first = await ask(batcher, 1)
        later = await ask(batcher, 2, 3)
        assert runs.batches == [[1]]
        runs.go_on.set()
        assert await asyncio.gather(*first, *later) == [2, 4, 6]
        assert runs.batches == [[1], [2, 3]]

    async def test_no_run_is_larger_than_the_largest(
        self, batcher: Batcher[int, int], runs: Runs
    ) -> None:
        answers = await asyncio.gather(*(batcher.ask(item) for item in range(8)))
        assert answers == [2 * item for item in range(8)]
        assert [len(batch) for batch in runs.batches] == [3, 3, 2]


class TestMostWaiting:
    """If too many wait, the next one is refused at once."""

    async def test_one_more_is_refused(self, runs: Runs) -> None:
        batcher = Batcher(runs, largest=3, most_waiting=2)
        runs.go_on.clear()
        tasks = [*await ask(batcher, 1), *await ask(batcher, 2, 3)]
        with pytest.raises(Overloaded):
            await batcher.ask(4)
        runs.go_on.set()
        assert await asyncio.gather(*tasks) == [2, 4, 6]
        assert await batcher.ask(4) == 8


class TestFailure:
    """Each caller of a batch gets its failure, and so does each who waits. Later ones do not."""

    async def test_who_waits_does_not_wait_for_a_second_failure(
        self, batcher: Batcher[int, int], runs: Runs
    ) -> None:
        runs.go_on.clear()
        tasks = [*await ask(batcher, 1), *await ask(batcher, *range(2, 9))]
        runs.fault = ConnectionError("away")
        runs.go_on.set()
        failed = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in failed] == ["away"] * 8
        assert runs.batches == [[1]]

    async def test_each_of_them_gets_it(self, batcher: Batcher[int, int], runs: Runs) -> None:
        runs.fault = ConnectionError("away")
        failed = await asyncio.gather(*await ask(batcher, 1, 2), return_exceptions=True)
        assert [str(error) for error in failed] == ["away", "away"]
        runs.fault = None
        assert await batcher.ask(3) == 6

    async def test_one_who_has_left_stops_nobody(
        self, batcher: Batcher[int, int], runs: Runs
    ) -> None:
        for fault in (None, ConnectionError()):
            runs.fault = fault
            runs.go_on.clear()
            impatient, patient = await ask(batcher, 1, 2)
            impatient.cancel()
            runs.go_on.set()
            (found,) = await asyncio.gather(patient, return_exceptions=True)
            assert found == 4 if fault is None else found is fault
            assert impatient.cancelled()

    async def test_a_run_that_is_cancelled_leaves_nobody_waiting(
        self, batcher: Batcher[int, int], runs: Runs
    ) -> None:
        runs.fault = asyncio.CancelledError()
        tasks = await ask(batcher, 1, 2)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)


class TestClose:
    """Closing waits until all items are answered."""

    async def test_all_that_wait_are_answered_first(
        self, batcher: Batcher[int, int], runs: Runs
    ) -> None:
        runs.go_on.clear()
        tasks = await ask(batcher, 1, 2, 3, 4)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        assert not closing.done()
        runs.go_on.set()
        await closing
        assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
