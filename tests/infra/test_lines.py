"""LineWriter: which lines reach stdout when, and that none is lost or torn."""

import asyncio
import io
import subprocess
import sys
import threading

import pytest

from app.infra.lines import LineWriter
from tests.live import ROOT


class Stream(io.BytesIO):
    """Counts the writes: each is a system call."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: object, /) -> int:
        self.writes += 1
        return super().write(data)  # type: ignore[arg-type] # whatever BytesIO takes


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def writer(stream: Stream) -> LineWriter:
    return LineWriter(stream)


class TestInALoop:
    """The lines of one turn of the event loop are one write, at its end."""

    async def test_they_are_written_together(self, writer: LineWriter, stream: Stream) -> None:
        writer.info(b"one")
        writer.debug(b"two")
        assert stream.getvalue() == b""
        await asyncio.sleep(0)
        assert stream.getvalue() == b"one\ntwo\n"
        assert stream.writes == 1

    async def test_the_next_turn_is_another_write(self, writer: LineWriter, stream: Stream) -> None:
        for line in (b"one", b"two"):
            writer.info(line)
            await asyncio.sleep(0)
        assert stream.getvalue() == b"one\ntwo\n"
        assert stream.writes == 2

    @pytest.mark.parametrize("level", ["warning", "error", "critical", "exception"])
    async def test_a_warning_and_worse_is_written_at_once_after_what_came_before(
        self, level: str, writer: LineWriter, stream: Stream
    ) -> None:
        writer.info(b"before")
        getattr(writer, level)(b"trouble")
        assert stream.getvalue() == b"before\ntrouble\n"
        await asyncio.sleep(0)
        assert stream.writes == 1

    def test_a_loop_that_ends_keeps_no_lines_back_from_the_next(
        self, writer: LineWriter, stream: Stream
    ) -> None:
        async def log(line: bytes) -> None:
            writer.info(line)

        for line in (b"one", b"two"):
            asyncio.run(log(line))
        writer.flush()
        assert stream.getvalue() == b"one\ntwo\n"


class TestOutsideALoop:
    """Without an event loop there is no turn to wait for."""

    def test_a_command_writes_at_once(self, writer: LineWriter, stream: Stream) -> None:
        writer.info(b"one")
        assert stream.getvalue() == b"one\n"

    async def test_threads_lose_and_tear_no_line(self, writer: LineWriter, stream: Stream) -> None:
        def work(name: int) -> None:
            for number in range(500):
                writer.info(b"%d-%d" % (name, number))

        threads = [threading.Thread(target=work, args=[name]) for name in range(4)]
        for thread in threads:
            thread.start()
        for number in range(500):
            writer.info(b"loop-%d" % number)
            await asyncio.sleep(0)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        expected = [b"%d-%d" % (name, number) for name in range(4) for number in range(500)]
        expected += [b"loop-%d" % number for number in range(500)]
        assert sorted(stream.getvalue().splitlines()) == sorted(expected)

    def test_the_end_of_the_process_writes_what_is_left(self) -> None:
        script = (
            "import asyncio, sys; from app.infra.lines import LineWriter\n"
            "writer = LineWriter(sys.stdout.buffer)\n"
            "loop = asyncio.new_event_loop()\n"
            "task = loop.create_task(asyncio.sleep(0))\n"
            # In the loop's last turn: there is no other that would flush.
            "task.add_done_callback(lambda _: writer.info(b'last words'))\n"
            "loop.run_until_complete(task)\n"
            "loop.close()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], check=True, cwd=ROOT, stdout=subprocess.PIPE
        )
        assert done.stdout == b"last words\n"
