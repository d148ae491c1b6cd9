"""Data that no log line of a test run may contain: names and addresses of the fixtures' patrons, PINs as fields."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"

_LOG_LINE = re.compile(r'^\{"ts":|^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:\x1b\[\d+m)*\[')
_ADDRESS = re.compile(r"[\w.+-]+@[A-Za-z][\w-]*(?:\.[A-Za-z][\w-]*)+")
_FIELD = re.compile(r"\|(?:AD|AC|CO)[^|\s]+|argon2id\$")


@cache
def names() -> re.Pattern[str]:
    """Return the names of all patrons of the demo and of the world files, in both scripts."""
    return re.compile("|".join(re.escape(name) for name in sorted(set(_names()), key=len, reverse=True)))


def _names() -> Iterator[str]:
    with (FIXTURES / "demo/patrons.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield from (row["name"], row["name_zh"])
    for path in (FIXTURES / "worlds").glob("*.toml"):
        for patron in tomllib.loads(path.read_text(encoding="utf-8")).get("patrons", []):
            yield from (value for key in ("name", "name_zh") if (value := patron.get(key)))


def leaks(text: str) -> list[str]:
    """Return the log lines in captured output that contain data they must not contain."""
    lines = (line for line in text.splitlines() if _LOG_LINE.match(line))
    return [line for line in lines if _ADDRESS.search(line) or _FIELD.search(line) or names().search(line)]
