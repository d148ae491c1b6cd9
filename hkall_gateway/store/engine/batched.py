"""What several units of a group ask alike is asked once: one statement over all their values, and whose each row is.

PostgreSQL only. The values travel as one JSON text, so that the statement is the same however many ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

Row = Sequence[Any]
Asked = Mapping[str, Any]
Execute = Callable[[str, Asked], Any]
"""Sends a statement with its parameters: what has `fetchall()` and `rowcount`, once somebody looks."""
Answers = Callable[[], Sequence[Any]]
"""Looks: an answer for each, in the order in which they asked."""

MISSING: Final = "22012"
"""SQLSTATE division_by_zero: what a change is answered that does not find all its rows."""
_ONES_OWN: Final = re.compile(r"\bFOR (NO KEY )?UPDATE\b|\bRETURNING\b|\bON CONFLICT\b")
_INSERT: Final = re.compile(r"(INSERT INTO .*?) VALUES \((.*)\)", re.DOTALL)
_UPDATE: Final = re.compile(r"(UPDATE .*?)\s+WHERE\s(.*)", re.DOTALL)
_LIMITED: Final = re.compile(r"\bLIMIT asked\.")
_KEY: Final = re.compile(r'(\w+\.\w+) = (asked\."was_\w+"(?:::\w+)?)')


@dataclass(frozen=True, slots=True)
class Found:
    """One unit's part of an answer, as a driver's cursor would show it."""

    rows: Sequence[Row]
    rowcount: int

    def fetchall(self) -> Sequence[Row]:
        """The rows."""
        return self.rows


@dataclass(frozen=True, slots=True)
class BatchedStatement:
    """A statement for many. `alone` is the same for one, and `names` is what each asks with; `given` is the same for all.

    `key`: what tells apart those that may be done together. For a question that is everything, and who asks the same gets
    the same; a change finds its row by it, and two changes of one row go one after the other.
    """

    alone: str
    text: str
    names: tuple[str, ...]
    key: tuple[str, ...]
    given: Mapping[str, Any]

    def send(self, execute: Execute, asked: Sequence[Asked]) -> Answers:
        """Ask this for all of them."""
        if self.text.startswith("SELECT"):
            return self._look_up(execute, asked)
        if self._go_one_by_one(asked):
            return one_by_one([execute(self.alone, one) for one in asked])
        done = self._execute(execute, self.text, asked)
        return partial(_changed, done, len(asked)) if self.key else one_by_one([Found((), 1)] * len(asked))

    def insist(self, execute: Execute, asked: Sequence[Asked]) -> None:
        """Change the row of each; the database refuses, as MISSING, where one is not there."""
        if self._go_one_by_one(asked):
            for one in asked:
                execute(_insisting(f"{self.alone} RETURNING 1", "1"), one)
        else:
            self._execute(execute, _insisting(self.text, "json_array_length(%(asked)s::json)"), asked)

    def _go_one_by_one(self, asked: Sequence[Asked]) -> bool:
        return len(asked) == 1 or (bool(self.key) and len({self._key(one) for one in asked}) < len(asked))

    def _look_up(self, execute: Execute, asked: Sequence[Asked]) -> Answers:
        keys = [self._key(one) for one in asked]
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        if len(places) == 1:
            return partial(_for_everybody, execute(self.alone, asked[0]), len(asked))
        done = self._execute(execute, self.text, [dict(zip(self.names, key, strict=True)) for key in places])
        return partial(_found, done, [places[key] for key in keys], len(places))

    def _execute(self, execute: Execute, text: str, asked: Sequence[Asked]) -> Any:
        rows = [{"place": place, **{name: one[name] for name in self.names}} for place, one in enumerate(asked)]
        return execute(text, {**self.given, "asked": orjson.dumps(rows).decode()})

    def _key(self, one: Asked) -> tuple[Any, ...]:
        return tuple([one[name] for name in self.key])


def _insisting(change: str, count: str) -> str:
    """A change that returns something of each row, which fails unless there are so many."""
    return f"WITH done AS ({change}) SELECT 1 / (count(*) = {count})::INTEGER FROM done"  # noqa: S608  # our own


def one_by_one(replies: Sequence[Any]) -> Answers:
    """The answers where each has one of its own."""
    return lambda: replies


def _for_everybody(done: Any, count: int) -> Sequence[Found]:
    rows = done.fetchall()
    return [Found(rows, len(rows))] * count


def _found(done: Any, places: Sequence[int], count: int) -> Sequence[Found]:
    """Each has the rows of its place."""
    found: list[list[Row]] = [[] for _ in range(count)]
    for place, *row in done.fetchall():
        found[place].append(row)
    return [Found(found[place], len(found[place])) for place in places]


def _changed(done: Any, count: int) -> Sequence[Found]:
    """Each knows whether its row is among those that changed."""
    changed = {place for (place,) in done.fetchall()}
    return [Found((), int(place in changed)) for place in range(count)]


def for_all(alone: str, kinds: Mapping[str, str], given: Mapping[str, Any]) -> BatchedStatement | None:
    """A statement with named marks as one for many; None where each must ask by itself.

    `kinds` are the database's types of what is asked with. A change must be an INSERT of one row, or an UPDATE of the one row
    that is found by what is named "was_".
    """
    if not kinds or _ONES_OWN.search(alone) or any(kind.endswith("[]") for kind in kinds.values()):
        return None
    named = re.sub(r"%\((\w+)\)s", lambda mark: f'asked."{mark[1]}"' if mark[1] in kinds else mark[0], alone)
    text = _over_all(named, ", ".join(f'"{name}" {kind}' for name, kind in kinds.items()))
    key = tuple(name for name in kinds if named.startswith("SELECT") or name.startswith("was_"))
    return BatchedStatement(alone, text, tuple(kinds), key, given) if text else None


def _over_all(named: str, columns: str) -> str:
    asked = f"json_to_recordset(%(asked)s::json) AS asked(place INTEGER, {columns})"
    if named.startswith("SELECT"):
        # OFFSET 0: each is looked up by itself, by the index that one alone would use.
        each = f"LATERAL ({named} OFFSET 0) AS found"
        return "" if _LIMITED.search(named) else f"SELECT asked.place, found.* FROM {asked}, {each}"  # noqa: S608  # our own
    if adds := _INSERT.fullmatch(named):
        return f"{adds[1]} SELECT {adds[2]} FROM {asked} ORDER BY asked.place"  # noqa: S608  # our own
    if (changes := _UPDATE.fullmatch(named)) and _KEY.search(changes[2]):
        # ANY: found by the index, whatever is guessed about how many there are.
        found = _KEY.sub(r"\1 = ANY (ARRAY[\2])", changes[2])
        return f"{changes[1]} FROM {asked} WHERE {found} RETURNING asked.place"
    return ""
