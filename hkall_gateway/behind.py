"""A stream written behind its back: whoever logs puts a line into a queue, and one thread writes what waits.

A disk or a reader that is slow holds up nobody: the queue has an end, what does not fit is dropped, and how much was
dropped is told once there is room again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Final

ROOM: Final = 20_000
"""Lines that may wait; at a busy counter some seconds of them."""
PAUSE_S: Final = 0.05
"""Between two writes under load: many lines are one write, and none waits longer than a reader notices."""


def _to_nobody(_count: int) -> None:
    """Nobody hears what was dropped."""


class Behind:
    """A binary stream for `logs.configure` that never waits for `stream`.

    At most `room` lines wait. `dropped` hears, in the writing thread, how many did not fit since it was last called; it may
    log. `close` writes what waits and ends the thread; a process that is killed loses what waited.
    """

    def __init__(self, stream: BinaryIO, room: int = ROOM, pause_s: float = PAUSE_S) -> None:
        self._stream, self._room, self._pause_s = stream, room, pause_s
        self._waiting: deque[bytes] = deque()
        self._awake, self._closing = threading.Event(), threading.Event()
        self._lost, self._counting = 0, threading.Lock()
        self.dropped: Callable[[int], object] = _to_nobody
        self._thread = threading.Thread(target=self._loop, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> int:
        """Put a line behind the others. Lines stay whole and in order."""
        if len(self._waiting) >= self._room:
            self._lose(1)
        else:
            self._waiting.append(line)
        if not self._awake.is_set():
            self._awake.set()
        return len(line)

    def flush(self) -> None:
        """The thread flushes after every write."""

    def close(self) -> None:
        """Write what waits, then end. Lines that come later are lost."""
        self._closing.set()
        self._awake.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._closing.is_set():
            self._awake.wait()
            self._awake.clear()
            self._write()
            self._closing.wait(self._pause_s)
        self._write()
        self._write()  # what was said about the first one

    def _write(self) -> None:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except (OSError, ValueError):  # the disk is full, or the reader has gone: to be told when it takes a line again
            self._lose(len(lines))
        else:
            self._tell()

    def _tell(self) -> None:
        with self._counting:
            lost, self._lost = self._lost, 0
        if lost:
            self.dropped(lost)

    def _lose(self, count: int) -> None:
        with self._counting:
            self._lost += count
