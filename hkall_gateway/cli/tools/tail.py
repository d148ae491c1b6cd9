"""Command tail: filters JSON log lines, groups them by conversation and formats them, also while the log is written.

A line is parsed only if searching its bytes is not enough, since a busy gateway writes millions of lines a day.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import click
import orjson

from hkall_gateway.cli.options import WRONG, CliError, config_option, json_option
from hkall_gateway.rules.dates import HONG_KONG

if TYPE_CHECKING:
    from hkall_gateway.config.gateway import GatewayConfig


LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LOOKBACK: Final = 20_000
"""Number of recent lines to keep, so that they can be shown if a later line of their conversation is chosen."""
PIECE: Final = 1 << 20
"""Number of bytes to read at once."""
_CORR: Final = re.compile(rb'"corr_id": ?"((?:[^"\\]|\\.)+)"')
_STAMP: Final = b'{"ts":"'
_STAMP_END: Final = len(_STAMP) + len("2026-11-27T01:00:00.000Z")
_CLOCK: Final = re.compile(r"\d\d?:\d\d(:\d\d)?")


class Found(NamedTuple):
    """A line to show, and its conversation: the raw corr_id, or b"" if the line has none."""

    conversation: bytes
    line: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A filter that chooses a line if any of these fields has any of these values."""

    fields: tuple[str, ...]
    values: tuple[str, ...]

    def holds(self, event: Mapping[str, object]) -> bool:
        """Check whether `event` matches this filter: one of the filter's fields has one of its values."""
        return any(event.get(name) in self.values for name in self.fields)


def event_of(line: bytes) -> dict[str, object] | None:
    """Parse a log line as an event. Return None for a damaged line or another JSON value."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


def instant_of(text: str, now: datetime) -> datetime:
    """Parse a day and time in Hong Kong; a time alone means its last occurrence before `now`. Raise ValueError otherwise."""
    here = now.astimezone(HONG_KONG)
    if not _CLOCK.fullmatch(text):
        named = datetime.fromisoformat(text)
        return named if named.tzinfo else named.replace(tzinfo=HONG_KONG)
    named = datetime.fromisoformat(f"{here:%Y-%m-%d}T{text.zfill(len(text) + (text[1] == ':'))}").replace(tzinfo=HONG_KONG)
    return named if named <= here else named - timedelta(days=1)


class LogFilter:
    """Finds the log lines to show.

    With choices, it finds whole conversations: all lines with the corr_id of a chosen line, including earlier lines among the
    last `lookback` lines. A damaged line is found if there are no choices, or if it contains a value of each choice.

    Args:
        choices: Filters that must all apply.
        level: Lowest level to show.
        since: Earliest time to show.
        lookback: Number of recent lines to keep.
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
        """Yield the lines to show, in order. When a conversation is first chosen, yield its earlier lines first."""
        for line in lines:
            if self._since and self._too_early(line):
                continue
            if self._choices:
                named = _CORR.search(line)
                conversation = named[1] if named else b""
                if conversation in self._chosen:
                    yield from self._found_lines(conversation, [line])
                elif self._is_chosen(line):
                    earlier = self._recent.take(conversation)
                    if conversation:
                        self._chosen.add(conversation)
                    yield from self._found_lines(conversation, [*earlier, line])
                elif conversation:
                    self._recent.add(conversation, line)
            elif self._is_grave(line):
                yield Found(b"", line)

    def _too_early(self, line: bytes) -> bool:
        """Return whether a line is from before `since`. A line without a time is treated like the previous line."""
        if line.startswith(_STAMP):
            self._early = line[len(_STAMP) : _STAMP_END] < self._since_bytes
        elif event := event_of(line):
            self._early = str(event.get("ts", self._since)) < self._since
        return self._early

    def _is_grave(self, line: bytes) -> bool:
        if not self._lower:
            return True
        if any(mark in line for mark in self._lower_marks):  # inside a JSON string the quotation marks would be escaped
            return False
        event = event_of(line)
        return event is None or event.get("level") not in self._lower

    def _found_lines(self, conversation: bytes, lines: Iterable[bytes]) -> Iterator[Found]:
        return (Found(conversation, line) for line in lines if self._is_grave(line))

    def _is_chosen(self, line: bytes) -> bool:
        if not all(any(value in line for value in values) for values in self._values):
            return False
        event = event_of(line)
        return event is None or all(choice.holds(event) for choice in self._choices)


class _Recent:
    """The most recent lines, by conversation."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._order: deque[bytes] = deque()
        self._lines: dict[bytes, deque[bytes]] = {}

    def add(self, conversation: bytes, line: bytes) -> None:
        self._order.append(conversation)
        self._lines.setdefault(conversation, deque()).append(line)
        if len(self._order) > self._most:
            conversation = self._order.popleft()
            lines = self._lines.get(conversation)
            if lines is not None:
                lines.popleft()
                if not lines:
                    del self._lines[conversation]

    def take(self, conversation: bytes) -> Iterable[bytes]:
        return self._lines.pop(conversation, ())


def conversations(found: Iterable[Found]) -> Iterator[list[bytes]]:
    """Yield the lines of each conversation, in the order of their first lines. A line without a corr_id stands alone."""
    together: dict[bytes, list[bytes]] = {}
    for number, (conversation, line) in enumerate(found):
        together.setdefault(conversation or b"\n%d" % number, []).append(line)
    yield from together.values()


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file or a pipe as soon as they are complete. The last line may lack a newline."""
    return (line.rstrip(b"\r\n") for line in file)


def followed(path: Path, wait: Callable[[], None], *, from_end: bool) -> Iterator[bytes]:
    """Yield the complete lines of a file as they are written, forever. Call `wait` when there are no new lines.

    After a rotation, keep reading the renamed file until the new file has a line, because the gateway still writes to the
    renamed file. Read a truncated file from its start. With `from_end`, begin at the end of the file.
    """
    file, rest = path.open("rb"), b""
    if from_end:
        file.seek(0, 2)
    while True:
        changed = _was_replaced(path, file)  # check before reading the last lines, so that none is missed
        while piece := file.read(PIECE):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if not changed:
            wait()
            continue
        if rest:
            yield rest
            rest = b""
        with suppress(FileNotFoundError):  # the file was renamed again; the next iteration opens its successor
            file, former = path.open("rb"), file
            former.close()


def _was_replaced(path: Path, file: BinaryIO) -> bool:
    """Return whether `path` now names another, nonempty file, or the file was truncated."""
    try:
        now = path.stat()
    except FileNotFoundError:  # the file was renamed, and the new file does not exist yet
        return False
    mine = os.fstat(file.fileno())
    if (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino):
        return now.st_size > 0
    return now.st_size < file.tell()


PAUSE_S: Final = 0.2
REFERENCE: Final = re.compile(r"[0-9a-f]{12}")
FIELDS: Final = {"request": ("request_id",), "terminal": ("terminal", "login"), "partner": ("partner", "peer", "claimed")}
"""Fields of a log line that name a request, a terminal or a partner."""


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True, exists=True))
@click.option("--follow", is_flag=True, help="Go on with new lines, also after a rotation; old ones only with --since.")
@click.option("--request", metavar="R-…", help="Conversations about this request.")
@click.option("--terminal", metavar="LOGIN", help="Conversations of this terminal.")
@click.option("--partner", metavar="AGENCY", help="Conversations with this partner.")
@click.option("--patron", metavar="CARD", help="Conversations about this patron: a card, or a patron_ref.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="debug",
    help="The lowest level to show.",
)
@click.option("--since", metavar="TIME", help="Lines from then on: 09:00, 2026-11-27 or 2026-11-27T09:00.")
@json_option
@config_option
def tail(
    file: Path | None, follow: bool, level: str, since: str | None, patron: str | None, as_json: bool, config: Path, **who: str
) -> None:
    """Show the log, one line per event, in Hong Kong time.

    FILE has JSON lines; - is standard input, such as `journalctl -o cat`. The default is `file` of [logs]. Lines with the same
    corr_id as a chosen line are shown with that line, unless --follow shows each line as it arrives.

    \b
    Example: hkall-gateway tail var/gateway.log --level warning --since 09:00
    Example: journalctl -u hkall-gateway -o cat | hkall-gateway tail - --patron P0001
    """  # noqa: D301  # click interprets \b
    from hkall_gateway.clock import now

    choices = [Choice(fields=FIELDS[name], values=(value,)) for name, value in who.items() if value]
    choices += [_patron_choice(patron, config)] if patron else []
    try:
        start = instant_of(since, now()) if since else None
    except ValueError:
        raise CliError(f"--since: {since!r} is no time such as 09:00, 2026-11-27 or 2026-11-27T09:00", WRONG) from None
    path = file or _load_config(config).logs.file
    if path is None:
        raise CliError(f"{config}: [logs] has no file: name one, or pipe the log into `hkall-gateway tail -`", WRONG)
    lines: Iterable[bytes]
    if str(path) == "-":
        lines = lines_of(sys.stdin.buffer)
    elif follow:
        lines = followed(path, partial(time.sleep, PAUSE_S), from_end=start is None)
    else:
        lines = lines_of(path.open("rb"))
    found, draw = LogFilter(choices, level, start).find(lines), _line_renderer(as_json)
    if follow or not choices:
        _print_lines(draw(one.line) for one in found)
    else:
        _print_lines(_bracket_lines(conversations(found), draw, as_json))


def _patron_choice(card: str, config: Path) -> Choice:
    """Return the filter for a card's patron_ref. A given patron_ref needs neither a key nor a configuration."""
    from hkall_gateway.app.logs import patron_ref

    references = {card} if REFERENCE.fullmatch(card) else set()
    try:
        variable = _load_config(config).logs.patron_key_env  # load_config has checked that the variable is set
        if variable is None:
            raise CliError("--patron: [logs] has no patron_key_env; without a key give the patron_ref of a line", WRONG)
        references.add(patron_ref(card, os.environ[variable].encode()))
    except CliError:
        if not references:
            raise
    return Choice(fields=("patron_ref",), values=tuple(references))


def _load_config(path: Path) -> GatewayConfig:
    from hkall_gateway.cli.opening import load_config

    return load_config(path)[0]


def _line_renderer(as_json: bool) -> Callable[[bytes], str]:
    """Return a function that formats a line, or returns it unchanged as JSON. In a damaged line, replace control characters."""
    from hkall_gateway.observability.log_console import line_renderer
    from hkall_gateway.rules.plain_text import printable

    draw = line_renderer(colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def drawn(line: bytes) -> str:
        event = event_of(line)
        if event is None:
            return printable(line.decode("utf-8", "backslashreplace"))
        return line.decode("utf-8", "backslashreplace") if as_json else draw(event)

    return drawn


def _bracket_lines(groups: Iterable[list[bytes]], draw: Callable[[bytes], str], as_json: bool) -> Iterator[str]:
    """Yield the formatted lines of each conversation, with a bracket in front unless `as_json`."""
    for group in groups:
        last = len(group) - 1
        for number, line in enumerate(group):
            bracket = " " if not last else "┌" if not number else "└" if number == last else "│"
            yield draw(line) if as_json else f"{bracket} {draw(line)}"


def _print_lines(lines: Iterable[str]) -> None:
    try:
        for line in lines:
            click.echo(line)
    except KeyboardInterrupt:  # --follow usually ends in this way
        raise click.exceptions.Exit(130) from None
