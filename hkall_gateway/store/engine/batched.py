"""Combines the same statement of several units of a group into one statement over all their values, and assigns the rows.

PostgreSQL only. The values travel as one JSON text, so that the statement text is the same for any number of units.
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
"""Sends a statement with its parameters; returns an object with `fetchall()` and `rowcount`, which make the trip when used."""
Answers = Callable[[], Sequence[Any]]
"""Fetches the results: one for each unit, in the order of the units."""

MISSING: Final = "22012"
"""SQLSTATE division_by_zero, raised by an update that does not find all its rows."""
_ONES_OWN: Final = re.compile(r"\bFOR (NO KEY )?UPDATE\b|\bRETURNING\b|\bON CONFLICT\b")
_INSERT: Final = re.compile(r"(INSERT INTO .*?) VALUES \((.*)\)", re.DOTALL)
_UPDATE: Final = re.compile(r"(UPDATE .*?)\s+WHERE\s(.*)", re.DOTALL)
_LIMITED: Final = re.compile(r"\bLIMIT asked\.")
_KEY: Final = re.compile(r'(\w+\.\w+) = (asked\."was_\w+"(?:::\w+)?)')


@dataclass(frozen=True, slots=True)
class Found:
    """The rows and the row count of one unit's share of a result, as a driver's cursor would show them."""

    rows: Sequence[Row]
    rowcount: int

    def fetchall(self) -> Sequence[Row]:
        """The rows."""
        return self.rows


@dataclass(frozen=True, slots=True)
class BatchedStatement:
    """A statement for several units.

    `alone` is the same statement for one unit. `names` are the parameters of each unit, `given` those that are the same for
    all. `key`: the parameters that tell apart the units that may share one statement. For a SELECT that is all of them, and
    units with equal parameters get the same rows. For an UPDATE it is the key of the row; two updates of one row are sent one
    by one.
    """

    alone: str
    text: str
    names: tuple[str, ...]
    key: tuple[str, ...]
    given: Mapping[str, Any]

    def send(self, execute: Execute, asked: Sequence[Asked]) -> Answers:
        """Send the statement for all units."""
        if self.text.startswith("SELECT"):
            return self._look_up(execute, asked)
        if self._go_one_by_one(asked):
            return one_by_one([execute(self.alone, one) for one in asked])
        done = self._execute(execute, self.text, asked)
        return partial(_changed, done, len(asked)) if self.key else one_by_one([Found((), 1)] * len(asked))

    def insist(self, execute: Execute, asked: Sequence[Asked]) -> None:
        """Update the row of each unit. The database raises MISSING if a row does not exist."""
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
    """Wrap a statement with RETURNING so that it fails unless it affects exactly `count` rows."""
    return f"WITH done AS ({change}) SELECT 1 / (count(*) = {count})::INTEGER FROM done"  # noqa: S608  # our own


def one_by_one(replies: Sequence[Any]) -> Answers:
    """Return the replies as they are, where each unit sent a statement of its own."""
    return lambda: replies


def _for_everybody(done: Any, count: int) -> Sequence[Found]:
    rows = done.fetchall()
    return [Found(rows, len(rows))] * count


def _found(done: Any, places: Sequence[int], count: int) -> Sequence[Found]:
    """Return the rows of each unit, found by its place in the batch."""
    found: list[list[Row]] = [[] for _ in range(count)]
    for place, *row in done.fetchall():
        found[place].append(row)
    return [Found(found[place], len(found[place])) for place in places]


def _changed(done: Any, count: int) -> Sequence[Found]:
    """Return for each unit whether its row is among the updated ones, as a row count of 0 or 1."""
    changed = {place for (place,) in done.fetchall()}
    return [Found((), int(place in changed)) for place in range(count)]


def for_all(alone: str, kinds: Mapping[str, str], given: Mapping[str, Any]) -> BatchedStatement | None:
    """Make a batched statement of one with named parameters; None if it cannot be batched.

    `kinds` are the database types of the parameters. A write must be an INSERT of one row, or an UPDATE of the one row that the
    parameters named "was_" find.
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
        # OFFSET 0: each row is looked up separately, by the index that the single statement would use.
        each = f"LATERAL ({named} OFFSET 0) AS found"
        return "" if _LIMITED.search(named) else f"SELECT asked.place, found.* FROM {asked}, {each}"  # noqa: S608  # our own
    if adds := _INSERT.fullmatch(named):
        return f"{adds[1]} SELECT {adds[2]} FROM {asked} ORDER BY asked.place"  # noqa: S608  # our own
    if (changes := _UPDATE.fullmatch(named)) and _KEY.search(changes[2]):
        # ANY: PostgreSQL uses the index, however many rows the planner estimates.
        found = _KEY.sub(r"\1 = ANY (ARRAY[\2])", changes[2])
        return f"{changes[1]} FROM {asked} WHERE {found} RETURNING asked.place"
    return ""
