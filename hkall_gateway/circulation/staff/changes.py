"""What has happened to a request since a person saw it: the answer to a command that was given on an older page."""

from __future__ import annotations

from dataclasses import dataclass

from hkall_gateway.circulation.command import Context
from hkall_gateway.db.queries import request_history
from hkall_gateway.db.queries.request_history import JournalRow


@dataclass(frozen=True, slots=True)
class Changed:
    """The command was not run: these lines of the journal are newer than the page that it was given on."""

    lines: tuple[JournalRow, ...]


def changes_since(context: Context, request: str, seen: int) -> Changed | None:
    """Return what has happened to a request after the line `seen` of the journal; None for nothing."""
    newer = request_history.changes_since(context.unit, request, seen)
    return Changed(newer) if newer else None
