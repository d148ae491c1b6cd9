"""Renders a log event as one human-readable line, with structlog's console renderer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import BinaryIO, Final, Literal
from zoneinfo import ZoneInfo

from structlog.dev import ConsoleRenderer

from hkall_gateway.rules.plain_text import printable

EVENT_WIDTH: Final = 18
"""Width to which event names are padded, which aligns the fields of most lines. Rare event names are longer."""
FIRST: Final = ("channel", "terminal", "partner", "request_id", "step", "from", "to", "code", "service", "send", "outcome")
"""Fields that come first, in this order. All other fields follow in the event's order, and then LAST."""
LAST: Final = ("patron_ref", "corr_id", "trace_id", "traceparent")
LEFT_OUT: Final = frozenset({"hkt_date", "stack", "exc_info"})
"""Fields that are not shown. `ts` already shows the date, and structlog would render the other fields on extra lines."""
TRACEBACKS: Final = frozenset({"exception", "trace"})

_HKT: Final = ZoneInfo("Asia/Hong_Kong")
_PLACE: Final = re.compile(r'File "(?:[^"]*/)?((?:hkall_gateway/)?[^"]*)", line (\d+)')
_PLACED: Final = {name: place for place, name in enumerate(("ts", "level", "event", *FIRST))}
_END: Final = {name: len(_PLACED) + 1 + place for place, name in enumerate(LAST)}
_ORDER: Final = _PLACED | _END

Draw = Callable[[Mapping[str, object]], str]
"""Function that renders an event as a line without a line end."""

LogFormat = Literal["json", "console"]


def renderer_for(stream: BinaryIO, log_format: LogFormat | None, environ: Mapping[str, str]) -> Draw | None:
    """Return the function that renders events for `stream`, or None for JSON.

    If `log_format` is None, render events for people if `stream` is a terminal, else as JSON. Use colours only on a terminal,
    unless NO_COLOR is set (no-color.org).
    """
    terminal = stream.isatty()
    if log_format == "json" or (log_format is None and not terminal):
        return None
    return line_renderer(colours=terminal and not environ.get("NO_COLOR"))


def line_renderer(*, colours: bool) -> Draw:
    """Return a function that renders events, with or without colours.

    The function shows Hong Kong time, omits empty fields, and reduces a traceback to the last line and location. It replaces
    line ends and control characters in values, since peers choose some values.
    """
    render = ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=EVENT_WIDTH, timestamp_key="ts")
    middle = len(_PLACED)

    def draw(event: Mapping[str, object]) -> str:
        names = sorted(event, key=lambda name: _ORDER.get(name, middle))
        shown = dict(
            _format_cell(name, event[name]) for name in names if name not in LEFT_OUT and event[name] not in (None, "")
        )
        return str(render(None, "", shown))

    return draw


def _format_cell(name: str, value: object) -> tuple[str, object]:
    if name in TRACEBACKS:
        return "raised", printable(last_line(str(value)))
    if name == "ts":
        return name, _format_time(str(value))
    if isinstance(value, str) or name in ("level", "event"):
        return printable(name), printable(str(value))
    return printable(name), value


def _format_time(ts: str) -> str:
    """Format an ISO timestamp in Hong Kong time with milliseconds. Return any other text unchanged."""
    try:
        moment = datetime.fromisoformat(ts)
    except ValueError:
        return printable(ts)
    return f"{moment.astimezone(_HKT):%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}" if moment.tzinfo else ts


def last_line(traceback: str) -> str:
    """Return a traceback's last line (the exception), with the file and line number where the exception was raised."""
    places, lines = _PLACE.findall(traceback), traceback.strip().splitlines()
    where = f" ({places[-1][0]}:{places[-1][1]})" if places else ""
    return (lines[-1].strip() if lines else "") + where
