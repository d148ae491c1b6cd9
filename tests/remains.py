"""Remnants of deleted texts in the bytes of an SQLite database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def count(file: Path, texts: Sequence[str]) -> int:
    """Count the occurrences of these texts in the bytes of the database file and its log."""
    files = (file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-journal"))
    return sum(path.read_bytes().count(text.encode()) for path in files if path.exists() for text in texts)
