"""A stream with a background writer. Loggers queue lines, and one thread writes them.

A slow disk or reader does not block the loggers. The queue is bounded. Lines that do not fit are dropped, and the number of
dropped lines is reported when the stream accepts lines again.
"""

from __future__ import annotations

import fcntl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

ROOM: Final = 20_000
"""Maximum number of queued lines, enough for a few seconds of a busy gateway's log."""
CLOSE_S: Final = 2.0
"""Maximum number of seconds that `close` waits, so that a pipe without a reader does not keep the process from exiting."""
PAUSE_S: Final = 0.05
"""Seconds between two writes under load, long enough to combine many lines into one write, but too short to notice."""


def _ignore(_count: int) -> None:
    """Do nothing. Used as default for `dropped`."""


class BackgroundWriter:
    """A binary stream for `logs.configure` whose `write` never blocks on `stream`.

    `close` writes the queued lines and ends the thread. A killed process loses the queued lines. The thread calls `dropped`
    with the number of lines dropped since the previous call; `dropped` may log. If another process writes to the same pipe,
    file or terminal (`shared`), each write locks the stream, since pipe writes of over 4,096 bytes may be interleaved.
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
        """Append a line to the queue, or drop it if the queue is full."""
        if len(self._waiting) >= self._room:
            self._count_lost(1)
        else:
            self._waiting.append(line)
        if not self._awake.is_set():
            self._awake.set()
        return len(line)

    def flush(self) -> None:
        """Do nothing, because the thread flushes after every write."""

    def continue_on(self, stream: BinaryIO) -> None:
        """Write the queued and all later lines to `stream`, and close the current stream."""
        self._successors.append(stream)
        self._awake.set()

    def close(self, patience_s: float = CLOSE_S) -> None:
        """Write the queued lines, then end the thread. Lines that are not written within `patience_s` seconds are lost.

        The stream must not be buffered in Python, since a thread that blocks while holding a buffer's lock makes the exit fail.
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
        self._write()  # write once more, for lines that `dropped` has logged

    def _write(self) -> None:
        while self._successors:
            with suppress(OSError):  # lines that a full disk did not accept are already counted as dropped
                self._stream.close()
            self._stream = self._successors.popleft()
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        data = memoryview(b"".join(lines))
        try:
            with self._locked_stream():
                while data:
                    if not (count := self._stream.write(data)):
                        raise BlockingIOError  # a non-blocking pipe is full
                    data = data[count:]
                self._stream.flush()
        except (OSError, ValueError):  # full disk or no reader, reported when the stream accepts lines again
            self._count_lost(len(lines))
        else:
            with self._counting:
                lost, self._lost = self._lost, 0
            if lost:
                self.dropped(lost)

    @contextmanager
    def _locked_stream(self) -> Iterator[None]:
        """Lock the stream against other processes if it is shared. The kernel releases the lock if the process ends."""
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
