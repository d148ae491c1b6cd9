"""A log event is formatted as one line, whatever its values are."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.observability.log_console import line_renderer

plain, coloured = line_renderer(colours=False), line_renderer(colours=True)
ANSWERED = {
    "ts": "2017-03-01T16:30:00.123Z",
    "hkt_date": "2017-03-02",
    "level": "info",
    "event": "sip2.answered",
    "peer": "127.0.0.1",
    "corr_id": "counter-1/1.5",
    "terminal": "counter-1",
    "ok": True,
    "ms": 14,
    "request_id": "",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.text() | st.sampled_from(["ts", "level", "event", "exception", "trace", "stack", "exc_info", "logger"])


def test_line_starts_with_hong_kong_time_and_terminal_and_omits_empty_fields() -> None:
    assert plain(ANSWERED) == (
        "2017-03-02 00:30:00.123 [info     ] sip2.answered      terminal=counter-1 peer=127.0.0.1 ok=True ms=14 "
        "corr_id=counter-1/1.5"
    )


def test_levels_are_coloured_on_a_terminal() -> None:
    assert "\x1b[" not in plain(ANSWERED)
    info, error = (coloured({**ANSWERED, "level": level}) for level in ("info", "error"))
    assert "\x1b[31m" not in info
    assert "\x1b[31m" in error


def test_traceback_shows_the_exception_and_its_location() -> None:
    try:
        ANSWERED["none"]
    except KeyError:
        drawn = plain({"event": "sip2.failed", "exception": traceback.format_exc()})
    assert drawn.startswith("sip2.failed")
    assert "KeyError: 'none' (test_log_console.py:" in drawn


@pytest.mark.parametrize("value", ["a\nb", "\x1b[2J", "\x9b2J", "a\rb", "\u2028", "\u202eabc"])
def test_value_from_a_peer_cannot_start_a_line_or_move_the_cursor(value: str) -> None:
    drawn = plain({**ANSWERED, "claimed": value, value: 1, "level": value, "event": value})
    assert drawn.isprintable()


def test_chinese_text_is_not_escaped() -> None:
    assert "香港大學" in plain({"event": "ncip.answered", "claimed": "香港大學"})


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_any_json_object_is_formatted_as_one_printable_line(event: dict[str, Any]) -> None:
    assert plain(event).isprintable()
