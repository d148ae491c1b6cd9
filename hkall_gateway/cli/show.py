"""How the command line prints records: aligned columns for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import click


def show(rows: Iterable[Mapping[str, Any]], as_json: bool, columns: Sequence[str] = ()) -> None:
    """Print rows under their column names, or as a JSON array."""
    found = [dict(row) for row in rows]
    if as_json:
        click.echo(json.dumps(found, default=plain, ensure_ascii=False, indent=1))
        return
    if not found:
        click.echo("nothing")
        return
    _print_table(found, columns or tuple(found[0]))


def _print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    cells = [[_cell(row.get(c)) for c in columns] for row in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(columns)]
    click.echo("  ".join(c.ljust(w) for c, w in zip(columns, widths, strict=True)).rstrip())
    for line in cells:
        click.echo("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    return "" if value is None else str(plain(value))


def plain(value: object) -> object:
    """A value that JSON has no form for, as text."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
