"""A scenario file as lines: each has a known verb and the right words after it, or the file is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

_WORDS = r"(?P<words>(\s+\S+=.*)?)"
_EXPECTED = rf"ncip\s+(?P<agency>\S+)\s+(?P<service>\S+){_WORDS}"
_ANSWERS = r"answers\s+(?P<document>\S+\.xml)"
_LENDS = r"lends\s+(?P<barcode>\S+)\s+(?P<to>\S+)"
_ILS = rf"is\s+(?P<state>\S+)|loses\s+(?P<code>\d\d)|{_ANSWERS}|reader\s+(?P<card>\S+){_WORDS}|{_LENDS}|hears\s+(?P<heard>\S.*)"

# fmt: off
GRAMMAR: Final[Mapping[str, str]] = {
    "world":   r"(?P<file>\S+)",
    "time":    r"(?P<at>\S+)",
    "wait":    r"(?P<long>([0-9]+[smhd])+)",
    "round":   r"(?P<name>\S+)",
    "crash":   r"(?P<commits>[1-9][0-9]*)?",
    "restart": r"",
    "sip2":    r"(?P<terminal>\S+)\s+(?P<way>[<>]) (?P<said>.*)",
    "ncip":    r"(?P<agency>\S+)\s+(?P<way>[<>])\s+(?P<said>\S.*)",
    "cli":     r"(?P<said>\S.*)",
    "<":       r"(?P<said>.*)",
    "partner": r"(?P<agency>\S+)\s+(answers\s+(?P<manner>\S.*)|has\s+(?P<barcode>\S+)\s+(?P<status>\S.*))",
    "ils":     _ILS,
    "expect":  _EXPECTED,
    "outbox":  rf"nothing|(?P<count>[0-9]+)|{_EXPECTED}",
    "mail":    r"nothing|server\s+is\s+(?P<state>away|here)|(?P<patron>\S+)\s+contains\s+(?P<text>\S.*)",
    "state":   rf"(?P<request>\S+)\s+(?P<position>\S+){_WORDS}",
}
"""Verb -> the rest of its line.

`crash 2`: at the second commit from here; `state R2 none`: there is no such request; `partner LU has L1 On Loan`: the status
on its own shelf, whatever the catalogue states; `partner LU answers FILE.xml`: the document of its next reply. `mail server is
away`: notices wait until it `is here`. `ils is away|silent|mute|refusing|here`: the state of the library's own system; `ils
loses 11`: it executes the next 11, and its reply is lost; `ils reader UG1 blocked=yes loans=14`: its facts of a reader; `ils
answers FILE.xml`: the document of its next reply; `ils lends AB77 UG1`: at a desk of its own; `ils hears 11*AB77*`: the oldest
line that it took and no line has asked for, or `nothing`.
"""
# fmt: on

RAW: Final = frozenset({"sip2", "<"})
"""Verbs whose line may contain ` #` that does not begin a comment."""

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class BadLine(Exception):
    """A line that is not valid, or that cannot be played; the text begins with file:line."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")


@dataclass(frozen=True, slots=True)
class ScenarioLine:
    """One line of a scenario. `text` is the line without its comment, `said` the parts that the grammar names."""

    file: str
    number: int
    text: str
    verb: str
    said: Mapping[str, str]

    @property
    def where(self) -> str:
        return f"{self.file}:{self.number}"

    def get(self, name: str) -> str:
        """The part of this name; "" when the line has none."""
        return self.said.get(name, "")


def read_scenario(path: Path) -> tuple[ScenarioLine, ...]:
    """The lines of a scenario, comments and blank lines left out. Raises BadLine for the first one that is not in GRAMMAR."""
    rows = enumerate(path.read_text("utf-8").splitlines(), start=1)
    lines = tuple(_line(str(path), number, row) for number, row in rows if row.strip() and not row.lstrip().startswith("#"))
    if not lines or lines[0].verb != "world":
        raise BadLine(f"{path}:1", "a scenario begins with a world")
    return lines


def duration(text: str) -> timedelta:
    """Parses a length of time: `90s`, `2d4h`."""
    return sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in re.findall(r"([0-9]+)([smhd])", text)), timedelta())


def _line(file: str, number: int, row: str) -> ScenarioLine:
    verb, _, rest = row.strip().partition(" ")
    text = row.strip() if verb in RAW else re.sub(r"\s+#.*$", "", row.strip())
    where = f"{file}:{number}"
    if verb not in GRAMMAR:
        raise BadLine(where, f"unknown line {row.strip()!r}; a line begins with {', '.join(GRAMMAR)}")
    rest = text[len(verb) :].strip() if verb not in RAW else rest.lstrip() if verb == "sip2" else rest
    found = re.fullmatch(GRAMMAR[verb], rest)
    if found is None:
        raise BadLine(where, f"cannot read {text!r}")
    return ScenarioLine(file, number, text, verb, {name: value for name, value in found.groupdict().items() if value})
