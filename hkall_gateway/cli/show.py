"""Prints records as a table, aligned lines or JSON. Tables and lines use the library's time zone, JSON uses UTC."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import Final, TextIO, TypeVar

import click

from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.plain_text import printable
from hkall_gateway.rules.vocabulary import ItemKey

T = TypeVar("T")
Row = Mapping[str, object]

GAP: Final = 2
"""Spaces between columns."""
TEXT: Final = 24
"""Minimum width of a text column on a terminal, where long texts are folded."""
_INSTANT: Final = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z\b)")


def echo(text: str, *, err: bool = False) -> None:
    """Print text. Control characters are replaced, because titles and replies come from outside and could move the cursor."""
    click.echo(printable(text, lines=True), err=err)


def echo_json(value: object, *, indent: int | None = 1) -> None:
    """Print a value as JSON, with unprintable characters escaped."""
    text = json.dumps(value, default=plain, ensure_ascii=False, indent=indent)
    click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def show(rows: Iterable[Row], as_json: bool, columns: Sequence[str] = ()) -> None:
    """Print rows under their column names, or as a JSON array."""
    found = [dict(row) for row in rows]
    if as_json:
        echo_json(found)
    elif not found:
        echo("nothing")
    elif sys.stdout.isatty():
        draw(found, columns or tuple(found[0]), sys.stdout)
    else:
        echo("\n".join(aligned(found, columns or tuple(found[0]))))


def progress(steps: Sequence[T], what: str) -> Iterable[T]:
    """Iterate over the steps of long work with a progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, what, console=Console(stderr=True), transient=True)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show `what` with a spinner on standard error while the block runs, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def aligned(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Return a header line and a line for each row, without folding. A Chinese character is two columns wide."""
    from rich.cells import cell_len

    cells = [list(columns), *([printable(cell(row.get(name))) for name in columns] for row in rows)]
    widths = [max(cell_len(line[i]) for line in cells) for i in range(len(columns))]
    return [
        (" " * GAP).join(text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def draw(rows: Sequence[Row], columns: Sequence[str], file: TextIO, width: int | None = None) -> None:
    """Write a table as wide as the terminal, or a block of lines for each row if the table does not fit."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    cells = {name: [printable(cell(row.get(name))) for row in rows] for name in columns}
    grid = partial(Table, box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    if _narrowest_width(cells) <= console.width:
        table = grid()
        for name, texts in cells.items():
            table.add_column(Text(name), no_wrap=not _is_words(texts), overflow="fold")
        for line in zip(*cells.values(), strict=True):
            table.add_row(*map(Text, line))
        console.print(table)
        return
    for number in range(len(rows)):  # a block has a line for each value that is not empty
        if number:
            console.print()
        block = grid(Column(style="bold", no_wrap=True), Column(overflow="fold"), show_header=False)
        for name, texts in cells.items():
            if texts[number]:
                block.add_row(Text(name), Text(texts[number]))
        console.print(block)


def _narrowest_width(cells: Mapping[str, Sequence[str]]) -> int:
    """Return the width that the table needs if its text columns are folded."""
    from rich.cells import cell_len

    widths = {name: max(map(cell_len, (name, *texts))) for name, texts in cells.items()}
    folded = {name: min(widths[name], max(TEXT, cell_len(name))) for name, texts in cells.items() if _is_words(texts)}
    return sum((widths | folded).values()) + GAP * (len(widths) - 1)


def _is_words(texts: Iterable[str]) -> bool:
    return any(" " in text for text in texts)


def cell(value: object) -> str:
    """Format a value for people: times in the library's time zone, an item as AGENCY/BARCODE."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return local(value)
    if isinstance(value, ItemKey):
        return f"{value.agency}/{value.barcode}"
    if isinstance(value, (tuple, list, set, frozenset)):
        return ", ".join(cell(one) for one in value)
    return _INSTANT.sub(lambda found: local(datetime.fromisoformat(found[0])), str(plain(value)))


def local(moment: datetime) -> str:
    """Format a time in the library's time zone, to the second."""
    return moment.astimezone(HONG_KONG).isoformat(timespec="seconds")


def plain(value: object) -> object:
    """Convert a value that JSON cannot represent to a mapping or to text, with times in UTC."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds") if value.tzinfo else value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
