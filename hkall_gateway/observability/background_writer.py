"""A stream with a background writer: loggers queue lines, and one thread writes them.

A slow disk or reader does not block the loggers: the queue is bounded, lines that do not fit are dropped, and their number is
reported once there is room again.
"""

from __future__ import annotations

import fcntl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

ROOM: Final = 20_000
"""Lines that may wait: some seconds of a busy gateway's log."""
CLOSE_S: Final = 2.0
"""Seconds that a reader has at the end to take the waiting lines: a pipe that nobody reads must not keep the process."""
PAUSE_S: Final = 0.05
"""Pause between two writes under load: many lines become one write, and the delay is too short to notice."""


def _ignore(_count: int) -> None:
    """Ignore the number of dropped lines."""


class BackgroundWriter:
    """A binary stream for `logs.configure`; its writes never block on `stream`.

    At most `room` lines wait. `dropped` is called in the writing thread with the number of lines that did not fit since its
    last call; it may log. `close` writes the waiting lines and ends the thread; a process that is killed loses them. `shared`:
    another process writes to the same pipe, file or terminal. Each waits for the other, so that lines stay whole: the kernel
    keeps only 4,096 bytes of a pipe together.
    """

    def __init__(self, stream: BinaryIO, room: int = ROOM, pause_s: float = PAUSE_S, *, shared: bool = False) -> None:
        self._stream, self._room, self._pause_s, self._shared = stream, room, pause_s, shared
        self._waiting: deque[bytes] = deque()
        self._successors: deque[BinaryIO] = deque()
        self._awake, self._closing = threading.Event(), threading.Event()
        self._lost, self._counting = 0, threading.Lock()
        self.dropped: Callable[[int], object] = _ignore
        self._thread = threading.Thread(target=self._loop, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> int:
        """Append a line to the queue. Lines stay whole and in order."""
        if len(self._waiting) >= self._room:
            self._count_lost(1)
        else:
            self._waiting.append(line)
        if not self._awake.is_set():
            self._awake.set()
        return len(line)

    def flush(self) -> None:
        """Do nothing: the thread flushes after every write."""

    def continue_on(self, stream: BinaryIO) -> None:
        """Write the waiting and all later lines to `stream`, and close the present one."""
        self._successors.append(stream)
        self._awake.set()

    def close(self, patience_s: float = CLOSE_S) -> None:
        """Write the waiting lines, then end the thread. Later lines are lost, and so are lines that a stream does not take.

        The stream must not be buffered in Python: a thread that is stuck in a buffer's lock would break the end of the process.
        """
        self._closing.set()
        self._awake.set()
        self._thread.join(patience_s)

    def _loop(self) -> None:
        while not self._closing.is_set():
            self._awake.wait()
            self._awake.clear()
            self._write()
            self._closing.wait(self._pause_s)
        self._write()
        self._write()  # lines that `dropped` has logged

    def _write(self) -> None:
        while self._successors:
            with suppress(OSError):  # what a full disk did not take was reported already
                self._stream.close()
            self._stream = self._successors.popleft()
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        data = memoryview(b"".join(lines))
        try:
            with self._locked_stream():
                while data:
                    if not (count := self._stream.write(data)):
                        raise BlockingIOError  # a pipe that does not block, and is full
                    data = data[count:]
                self._stream.flush()
        except (OSError, ValueError):  # the disk is full, or the reader has gone: reported when it accepts a line again
            self._count_lost(len(lines))
        else:
            with self._counting:
                lost, self._lost = self._lost, 0
            if lost:
                self.dropped(lost)

    @contextmanager
    def _locked_stream(self) -> Iterator[None]:
        """Keep the other process from writing. The kernel frees the lock of a process that ends."""
        if not self._shared:
            yield
            return
        fcntl.lockf(self._stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._stream, fcntl.LOCK_UN)

    def _count_lost(self, count: int) -> None:
        with self._counting:
            self._lost += count
