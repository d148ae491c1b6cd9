"""CSV files for spreadsheets."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Any, Final

from flask import Response, stream_with_context

BOM: Final = "\ufeff"
"""Without it, Excel reads UTF-8 as the code page of its machine."""
FORMULA: Final = re.compile(r"(\A|[;\t\r\n])(?=\s*[=+\-@＝＋－＠])|\A(?=[\t\r\n])")
"""The place before a formula: at the beginning of a cell, behind blanks too, and behind what spreadsheets of some languages
take for the end of one. Source: OWASP, CSV injection."""
BLOCK: Final = 200
"""Rows that are sent together."""


def csv_file(name: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return a download called `name`, UTF-8 with a byte order mark. `rows` are read while they are sent."""
    answer = Response(stream_with_context(_blocks(heads, rows)), mimetype="text/csv", content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def defused(value: Any) -> Any:
    """Return a cell that no spreadsheet runs: an apostrophe stands before each formula."""
    return FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _blocks(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    text = StringIO()
    text.write(BOM)
    writer = csv.writer(text)
    writer.writerow([defused(head) for head in heads])
    for number, row in enumerate(rows, 1):
        writer.writerow([defused(cell) for cell in row])
        if number % BLOCK == 0:
            yield _taken(text)
    yield _taken(text)


def _taken(text: StringIO) -> str:
    block = text.getvalue()
    text.seek(0)
    text.truncate()
    return block
