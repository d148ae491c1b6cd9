"""Reads JSON lines of a log, also while it is written and rotated, and finds those that a filter chooses.

Lines stay bytes and are parsed only where the bytes alone do not decide: a busy gateway writes millions a day.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from hkall_gateway.rules.dates import HONG_KONG

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LOOKBACK: Final = 20_000
"""Lines that are remembered, so that they can be shown if a later line of their conversation is chosen."""
PIECE: Final = 1 << 20
"""Bytes read at once."""
_CORR: Final = re.compile(rb'"corr_id": ?"((?:[^"\\]|\\.)+)"')
_STAMP: Final = b'{"ts":"'
_STAMP_END: Final = len(_STAMP) + len("2026-11-27T01:00:00.000Z")
_CLOCK: Final = re.compile(r"\d\d?:\d\d(:\d\d)?")


class Found(NamedTuple):
    """A line to show, and its conversation: its corr_id, as the line writes it, or b""."""

    conversation: bytes
    line: bytes


@dataclass(frozen=True, slots=True)
class Choice:
    """A line is chosen if one of these fields has one of these values."""

    fields: tuple[str, ...]
    values: tuple[str, ...]

    def holds(self, event: Mapping[str, Any]) -> bool:
        """Whether an event has such a value."""
        return any(event.get(name) in self.values for name in self.fields)


def event_of(line: bytes) -> dict[str, Any] | None:
    """Returns the event of a line; None for a damaged line, or one that is no event."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


def instant_of(text: str, now: datetime) -> datetime:
    """Returns the instant that a text names in Hong Kong: a day, a day and a time, or a time, the last one before `now`.

    Raises ValueError for another text.
    """
    here = now.astimezone(HONG_KONG)
    if not _CLOCK.fullmatch(text):
        said = datetime.fromisoformat(text)
        return said if said.tzinfo else said.replace(tzinfo=HONG_KONG)
    said = datetime.fromisoformat(f"{here:%Y-%m-%d}T{text.zfill(len(text) + (text[1] == ':'))}").replace(tzinfo=HONG_KONG)
    return said if said <= here else said - timedelta(days=1)


class LogFilter:
    """Finds lines by `choices`, which must all hold, from `level` upward and from the instant `since` on.

    With choices it finds whole conversations: the lines with the corr_id of a chosen line, also those before it, unless more
    than `lookback` lines ago. A damaged line is found if nothing is chosen, or if it mentions a value of each choice.
    """

    def __init__(
        self, choices: Iterable[Choice] = (), level: str = "debug", since: datetime | None = None, lookback: int = LOOKBACK
    ) -> None:
        self._choices = tuple(choices)
        self._values = [[orjson.dumps(value)[1:-1] for value in choice.values] for choice in self._choices]
        self._lower = frozenset(LEVELS[: LEVELS.index(level)])
        self._lower_marks = [f'"level":"{lower}"'.encode() for lower in sorted(self._lower)]
        self._since = f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z" if since else ""
        self._since_bytes = self._since.encode()
        self._chosen: set[bytes] = set()
        self._recent = _Recent(lookback)
        self._early = False

    def find(self, lines: Iterable[bytes]) -> Iterator[Found]:
        """Yields the lines to show, in the order of `lines`; earlier lines of a conversation when it is first chosen."""
        for line in lines:
            if self._since and self._too_early(line):
                continue
            if self._choices:
                yield from self._of_conversations(line)
            elif self._grave(line):
                yield Found(b"", line)

    def _too_early(self, line: bytes) -> bool:
        """A line without a time, such as a damaged one, is as early as the line before it."""
        if line.startswith(_STAMP):
            self._early = line[len(_STAMP) : _STAMP_END] < self._since_bytes
        elif event := event_of(line):
            self._early = str(event.get("ts", self._since)) < self._since
        return self._early

    def _grave(self, line: bytes) -> bool:
        if not self._lower:
            return True
        if any(mark in line for mark in self._lower_marks):  # inside of a text its quotation marks would have backslashes
            return False
        event = event_of(line)
        return event is None or event.get("level") not in self._lower

    def _of_conversations(self, line: bytes) -> Iterator[Found]:
        said = _CORR.search(line)
        conversation = said[1] if said else b""
        if conversation in self._chosen:
            yield from self._shown(conversation, [line])
        elif self._is_chosen(line):
            earlier = self._recent.take(conversation)
            if conversation:
                self._chosen.add(conversation)
            yield from self._shown(conversation, [*earlier, line])
        elif conversation:
            self._recent.add(conversation, line)

    def _shown(self, conversation: bytes, lines: Iterable[bytes]) -> Iterator[Found]:
        return (Found(conversation, line) for line in lines if self._grave(line))

    def _is_chosen(self, line: bytes) -> bool:
        if not all(any(value in line for value in values) for values in self._values):
            return False
        event = event_of(line)
        return event is None or all(choice.holds(event) for choice in self._choices)


class _Recent:
    """The last lines, by conversation."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._order: deque[bytes] = deque()
        self._lines: dict[bytes, deque[bytes]] = {}

    def add(self, conversation: bytes, line: bytes) -> None:
        self._order.append(conversation)
        self._lines.setdefault(conversation, deque()).append(line)
        if len(self._order) > self._most:
            self._drop(self._order.popleft())

    def take(self, conversation: bytes) -> Iterable[bytes]:
        return self._lines.pop(conversation, ())

    def _drop(self, conversation: bytes) -> None:
        lines = self._lines.get(conversation)
        if lines is not None:
            lines.popleft()
            if not lines:
                del self._lines[conversation]


def conversations(found: Iterable[Found]) -> Iterator[list[bytes]]:
    """Yields the lines of each conversation, in the order of their first lines; a line without one is alone."""
    together: dict[bytes, list[bytes]] = {}
    for number, (conversation, line) in enumerate(found):
        together.setdefault(conversation or b"\n%d" % number, []).append(line)
    yield from together.values()


# ---- files


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yields the lines of a file or a pipe, each as soon as it is whole, and the last one even without its end."""
    return (line.rstrip(b"\r\n") for line in file)


def followed(path: Path, wait: Callable[[], None], *, from_end: bool) -> Iterator[bytes]:
    """Yields the whole lines of a file as they are written, without end; calls `wait` when there are none.

    Follows a rotation: the renamed file is read until the new one has a line, since its writer still has it open until then. A
    file that became shorter is read from its start. `from_end`: begin at the end of the file, else at its start.
    """
    file, rest = path.open("rb"), b""
    if from_end:
        file.seek(0, 2)
    while True:
        changed = _changed(path, file)  # asked before the last lines are read, so that none is left behind
        while piece := file.read(PIECE):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if not changed:
            wait()
            continue
        if rest:
            yield rest
            rest = b""
        with suppress(FileNotFoundError):  # renamed once more
            file, former = path.open("rb"), file
            former.close()


def _changed(path: Path, file: BinaryIO) -> bool:
    """Whether the path now names another file that has lines, or the file was cut."""
    try:
        now = path.stat()
    except FileNotFoundError:  # between a rename and the new file
        return False
    mine = os.fstat(file.fileno())
    if (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino):
        return now.st_size > 0
    return now.st_size < file.tell()
