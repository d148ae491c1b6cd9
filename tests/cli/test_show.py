"""How records are printed: on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len

import hkall_gateway.cli
from hkall_gateway.cli.options import CliError
from hkall_gateway.cli.show import aligned, cell, draw, echo, show
from hkall_gateway.rules.vocabulary import ItemKey

NOON = datetime(2017, 3, 9, 4, tzinfo=UTC)
ROWS: list[dict[str, object]] = [
    {"id": "R-1", "title": "紅樓夢", "item": ItemKey("CUHK", "C100017"), "at": NOON},
    {"id": "R-22", "title": "Dune", "item": ItemKey("HKUST", "1"), "at": None},
]
COLUMNS = ("id", "title", "item", "at")


def drawn(rows: list[dict[str, object]], columns: tuple[str, ...], width: int) -> str:
    out = StringIO()
    draw(rows, columns, out, width)
    return out.getvalue()


@pytest.mark.parametrize(("value", "told"), [
    (None,                                   ""),
    (NOON,                                   "2017-03-09T12:00:00+08:00"),
    (date(2017, 3, 9),                       "2017-03-09"),
    (ItemKey("CUHK", "C100017"),             "CUHK/C100017"),
    (("dropped", "claimed"),                 "dropped, claimed"),
    ("due 2017-03-09T04:00:00+00:00, late",  "due 2017-03-09T12:00:00+08:00, late"),
    ("not 2017-03-09",                       "not 2017-03-09"),
    (7,                                      "7"),
])  # fmt: skip
def test_times_are_in_library_time_and_items_as_agency_and_barcode(value: object, told: str) -> None:
    assert cell(value) == told


def test_chinese_character_takes_two_columns_in_a_pipe() -> None:
    head, first, second = aligned(ROWS, COLUMNS)
    assert head == "id    title   item          at"
    places = [cell_len(line[: line.index(word)]) for line, word in ((head, "item"), (first, "CUHK/"), (second, "HKUST/"))]
    assert len(set(places)) == 1


HOSTILE = "Dune\x1b[2J\x9b1m\x07\u202e\ud800"
CLEANED = "Dune\ufffd[2J\ufffd1m\ufffd\ufffd\ufffd"


def test_titles_in_a_pipe_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"title": HOSTILE}], as_json=False)
    assert capsys.readouterr().out == f"title\n{CLEANED}\n"


def test_json_escapes_unprintable_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"title": HOSTILE}], as_json=True)
    written = capsys.readouterr().out
    assert written.replace("\n", "").isprintable()
    assert json.loads(written) == [{"title": HOSTILE}]


def test_multi_line_text_is_printed_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"<a>\n\t{HOSTILE}\r</a>")
    assert capsys.readouterr().out == f"<a>\n\t{CLEANED} </a>\n"


def test_error_message_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    CliError(f"{HOSTILE}: no such copy").show()
    assert capsys.readouterr().err.endswith(f"{CLEANED}: no such copy\n")


def test_commands_print_only_through_the_sanitising_functions() -> None:
    """`tail` and `doctor` print colours, and sanitise the texts between them."""
    own = {"show.py", "options.py", "tail.py", "examination.py"}
    files = [path for path in Path(hkall_gateway.cli.__file__).parent.rglob("*.py") if path.name not in own]
    assert [path.name for path in files if "click.echo" in path.read_text("utf-8")] == []


def test_lines_in_a_pipe_are_not_wrapped() -> None:
    rows = [{"title": "word " * 100, "id": "R-1"}]
    assert len(aligned(rows, ("title", "id"))) == 2


def test_table_fits_the_terminal() -> None:
    text = drawn(ROWS, COLUMNS, 80)
    assert max(map(cell_len, text.splitlines())) <= 80
    assert len(text.splitlines()) == 3
    named = zip(text.splitlines(), ("item", "CUHK/", "HKUST/"), strict=True)
    assert len({cell_len(line[: line.index(word)]) for line, word in named}) == 1


def test_long_title_is_wrapped_inside_its_column() -> None:
    text = drawn([{"id": "R-1", "title": "a long title " * 8, "due": "2017-03-09"}], ("id", "title", "due"), 60)
    lines = text.splitlines()
    assert len(lines) > 2
    assert all(not line[: lines[0].index("title")].strip() for line in lines[2:])


def test_rows_too_wide_for_the_terminal_are_shown_as_blocks() -> None:
    columns = tuple(f"column_{n}" for n in range(8))
    text = drawn([dict.fromkeys(columns, "0123456789"), dict.fromkeys(columns, "x")], columns, 80)
    assert "column_0  0123456789" in [line.rstrip() for line in text.splitlines()]
    assert "" in text.splitlines()


def test_title_cannot_move_the_cursor_of_a_terminal() -> None:
    assert "\x1b" not in drawn([{"title": "\x1b[2Jgone"}], ("title",), 80)


def test_brackets_are_printed_literally() -> None:
    assert "[red]x[/red]" in drawn([{"title": "[red]x[/red]"}], ("title",), 80)


def test_json_times_are_utc(capsys: pytest.CaptureFixture[str]) -> None:
    there = datetime.fromisoformat("2017-03-09T12:00:00+08:00")
    show([{"at": there}], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"at": "2017-03-09T04:00:00+00:00"}]


def test_terminal_gets_a_bold_table_and_a_pipe_plain_lines() -> None:
    code = "from hkall_gateway.cli.show import show; show([{'id': 'R-1', 'title': '紅樓夢'}], False)"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert piped == "id   title\nR-1  紅樓夢\n"
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, check=True, env=environ)
    os.close(theirs)
    told = os.read(ours, 4096).decode()
    os.close(ours)
    assert "\x1b[1mid" in told
    assert "紅樓夢" in told
