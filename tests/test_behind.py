"""The log is written by a background thread: no caller waits for a slow reader, and dropped lines are counted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from hkall_gateway.observability.background_writer import BackgroundWriter

PATIENCE_S = 20.0


class Slow(io.BytesIO):
    """A reader that blocks until released. `taken` lists the data of each write."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.let, self.taken = Event(), Event(), list[bytes]()

    def write(self, data: Any) -> int:
        self.reached.set()
        assert self.let.wait(PATIENCE_S)
        self.taken.append(data)
        return len(data)


class Full(io.BytesIO):
    """A full disk, until space is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True
        self.refused = Event()

    def write(self, data: Any) -> int:
        if self.full:
            self.refused.set()
            raise OSError(28, "No space left on device")
        return super().write(data)


@pytest.fixture
def slow() -> Iterator[Slow]:
    stream = Slow()
    yield stream
    stream.let.set()


def test_lines_stay_whole_and_in_order_and_are_flushed_on_stop() -> None:
    stream = io.BytesIO()
    behind = BackgroundWriter(stream)
    for number in range(1000):
        behind.write(b"%d\n" % number)
        behind.flush()
    behind.close()
    assert stream.getvalue() == b"".join(b"%d\n" % number for number in range(1000))


def test_caller_does_not_wait_for_a_slow_reader_and_queued_lines_are_one_write(slow: Slow) -> None:
    behind = BackgroundWriter(slow)
    behind.write(b"first\n")
    assert slow.reached.wait(PATIENCE_S)
    for _ in range(3):
        behind.write(b"later\n")
    slow.let.set()
    behind.close()
    assert slow.taken[:2] == [b"first\n", b"later\nlater\nlater\n"]


def test_overflowing_lines_are_dropped_and_counted_once_there_is_room(slow: Slow) -> None:
    behind, told = BackgroundWriter(slow, room=2), list[int]()
    behind.dropped = told.append
    behind.write(b"first\n")
    assert slow.reached.wait(PATIENCE_S)
    for number in range(5):
        behind.write(b"%d\n" % number)
    slow.let.set()
    behind.close()
    assert b"".join(slow.taken) == b"first\n0\n1\n"
    assert sum(told) == 3


def test_full_disk_drops_lines_and_counts_them_afterwards() -> None:
    stream, told = Full(), list[int]()
    behind = BackgroundWriter(stream, pause_s=0.0)
    behind.dropped = told.append
    behind.write(b"first\n")
    assert stream.refused.wait(PATIENCE_S)
    stream.full = False
    behind.write(b"second\n")
    behind.close()
    assert (stream.getvalue(), sum(told)) == (b"second\n", 1)


def test_loss_handler_may_log_even_during_the_stop(slow: Slow) -> None:
    behind = BackgroundWriter(slow, room=1)
    behind.dropped = lambda count: behind.write(b"dropped %d\n" % count)
    behind.write(b"first\n")
    assert slow.reached.wait(PATIENCE_S)
    behind.write(b"second\n")
    behind.write(b"third\n")
    slow.let.set()
    behind.close()
    assert b"".join(slow.taken) in {b"first\nsecond\ndropped 1\n", b"first\ndropped 1\nsecond\n"}


def test_log_continues_in_the_new_file_without_losing_lines(tmp_path: Path) -> None:
    first, second = (tmp_path / "first").open("ab"), (tmp_path / "second").open("ab")
    behind = BackgroundWriter(first, pause_s=0.0)
    for number in range(100):
        behind.write(b"%d\n" % number)
        if number == 50:
            behind.continue_on(second)
    behind.close()
    assert first.closed
    assert b"99\n" in Path(second.name).read_bytes()
    assert Path(first.name).read_bytes() + Path(second.name).read_bytes() == b"".join(b"%d\n" % n for n in range(100))


class Stuck(io.BytesIO):
    """A file whose last bytes cannot be written."""

    def close(self) -> None:
        raise OSError(28, "No space left on device")


def test_close_error_does_not_stop_the_log() -> None:
    after = io.BytesIO()
    behind = BackgroundWriter(Stuck(), pause_s=0.0)
    behind.continue_on(after)
    behind.write(b"line\n")
    behind.close()
    assert after.getvalue() == b"line\n"
