"""Runs the units of a group as greenlets and sends their statements to PostgreSQL in common round trips.

Each unit runs until it needs a result; then the pending statements of all units go in one round trip, which costs as much as
all the work of a unit. PostgreSQL only. Units need no special code: each has its own greenlet in the group's thread, and a
query returns as if the unit ran alone. Units with overlapping locks never run interleaved, so that units share a transaction as
safely as two gateways share the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection

from hkall_gateway.store.engine.compiled import CompiledStatement, Values
from hkall_gateway.store.engine.pipelined import COALESCER, PIPELINE, flush

Work = Callable[[], Any]
ASKED: Final = "asked"
ENDED: Final = "ended"
STAGE: Final = "stage"


class UnitFailed(Exception):
    """The exception that the unit at `place` raised."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place, error)
        self.place, self.error = place, error


class BrokenOff(Exception):
    """The transaction ended inside a unit that raised no exception."""


class _Unsettled(Exception):
    """Wraps a database error of a buffered write, which any of the units may have caused."""


class _Asking(NamedTuple):
    """A query of a suspended unit: `told` receives the results of the queries sent together, and `which` is the index of this
    one.
    """

    place: int
    greenlet: Any
    statement: CompiledStatement
    values: Values
    told: list[Any]
    which: int


class _Written(NamedTuple):
    """A buffered write of a unit, not yet sent; `missing` is raised if one of its rows does not exist."""

    place: int
    statement: CompiledStatement
    rows: Sequence[Values]
    missing: Exception | None


_Said = TypeVar("_Said", _Asking, _Written)
_Question = tuple[CompiledStatement, Values]
_Ready = tuple[int, Any, Any]
"""A unit that can be resumed: its place, its greenlet, and the value to pass in (its work, or the results of its queries)."""


def conflict_free_batches(decided: Sequence[Set[str]]) -> list[list[int]]:
    """Sort the units of a group into batches; the units of one wave may run interleaved. Returns the places of each wave.

    `decided`: the lock names of each unit. A unit that shares a name with an earlier one goes into a later wave. A unit without
    names comes after all earlier units, alone.
    """
    found: list[list[int]] = []
    last: dict[str, int] = {}
    first = 0
    for place, names in enumerate(decided):
        batch = max((last[name] + 1 for name in names if name in last), default=first) if names else len(found)
        batch = max(batch, first)
        found += [[]] if batch == len(found) else []
        found[batch].append(place)
        last.update(dict.fromkeys(names, batch))
        first = first if names else len(found)
    return found


def run_batch(connection: Connection, batch: Sequence[int], works: Sequence[Work], results: list[Any]) -> None:
    """Run the units at these places, and store the result of each at its place in `results`.

    Raises UnitFailed if one of them raised, and the database's error if a combined statement failed.
    """
    if connection.dialect.name != "sqlite":
        Coalescer(connection, results).take(batch, works)
        return
    for place in batch:
        try:
            results[place] = works[place]()
        except Exception as error:
            raise UnitFailed(place, error) from error
        _check_unbroken(connection, place)


def _check_unbroken(connection: Connection, place: int) -> None:
    """Raise UnitFailed if the transaction is no longer open or takes no statements. Makes no round trip."""
    here: Any = connection.connection.dbapi_connection if connection.dialect.name == "sqlite" else connection.info[PIPELINE]
    if not here.in_transaction:
        raise UnitFailed(place, BrokenOff())


def gather(connection: Connection, works: Sequence[Work]) -> list[Any]:
    """Return the results of several functions that only query, in order.

    On PostgreSQL their first queries share a round trip.
    """
    coalescer = connection.info.get(COALESCER)
    return coalescer.gather(works) if coalescer is not None else [work() for work in works]


@contextmanager
def exclusively(connection: Connection) -> Iterator[None]:
    """Send each statement inside the block immediately, and let no other unit run meanwhile.

    For code that may roll back the statements inside, as a savepoint does.
    """
    flush(connection)
    info = connection.info  # kept in a variable: a connection that breaks meanwhile no longer has `info`
    coalescer = info.pop(COALESCER, None)
    try:
        yield
    finally:
        if coalescer is not None:
            info[COALESCER] = coalescer


class GreenletPool:
    """A pool of greenlets on which units run one after another, because a new greenlet costs as much as a round trip.

    `idle` holds the greenlets that wait for a unit.
    """

    def __init__(self) -> None:
        from greenlet import getcurrent, greenlet  # installed with the extra `postgres`, like the driver

        self.hub, self._greenlet = getcurrent(), greenlet
        self.idle: list[Any] = []

    def free(self) -> Any:
        """Return an idle greenlet, or a new one. Switched to with a work, it switches back with (ENDED, result)."""
        return self.idle.pop() if self.idle else self._greenlet(self._work)

    def _work(self, work: Work) -> None:
        while True:
            work = self.hub.switch(ENDED, work())


class _Gathered:
    """Several functions of one unit: each starts when the one before it has queried, then all queries are sent together."""

    def __init__(self, works: Sequence[Work], ask: Callable[[list[_Question]], list[Any]]) -> None:
        self._works, self._ask = works, ask
        self._begun = 0
        self._questions: list[_Question] = []
        self._told: list[Any] | None = None
        self.answers: list[Any] = [None] * len(works)

    def run(self) -> None:
        """Start the functions that have not been started."""
        while self._begun < len(self._works):
            which = self._begun
            self._begun += 1
            self.answers[which] = self._works[which]()

    def ask(self, question: _Question) -> Any:
        """Return the result of a query; the first queries of all functions are sent together."""
        if self._told is not None:
            return self._ask([question])[0]
        which = len(self._questions)
        self._questions.append(question)
        self.run()
        if self._told is None:
            self._told = self._ask(self._questions)
        return self._told[which]


class Coalescer:
    """Runs units interleaved on one connection, which passes their statements here. Stores their results in `results`."""

    def __init__(self, connection: Connection, results: list[Any]) -> None:
        self._connection, self._results = connection, results
        self._stage = _stage(connection)
        self._busy: dict[int, Any] = {}
        self._written: dict[int, list[_Written]] = {}
        self._gathered: dict[int, _Gathered] = {}
        self._place = 0

    # ---- called by units

    def ask(self, statement: CompiledStatement, values: Values) -> Any:
        """Return the result of a query, after the other units have run up to their next query."""
        together = self._gathered.get(self._place)
        return together.ask((statement, values)) if together else self._ask([(statement, values)])[0]

    def write(self, statement: CompiledStatement, rows: Sequence[Values], missing: Exception | None) -> None:
        """Buffer a write. It is sent before the unit's next result; `missing` is raised if a row does not exist."""
        self._written.setdefault(self._place, []).append(_Written(self._place, statement, rows, missing))

    def gather(self, works: Sequence[Work]) -> list[Any]:
        """Return the results of several functions of one unit, run as `_AtOnce`."""
        together = self._gathered[self._place] = _Gathered(works, self._ask)
        try:
            together.run()
        finally:
            self._gathered.pop(self._place, None)
        return together.answers

    def settle(self) -> None:
        """Send all buffered writes, before a statement goes to the database directly."""
        try:
            self.send()
            self._connection.info[PIPELINE].go()
        except Exception as error:
            raise _Unsettled from error

    def _ask(self, questions: list[_Question]) -> list[Any]:
        told: list[Any] = self._stage.hub.switch(ASKED, questions)
        return told

    # ---- scheduling

    def take(self, batch: Sequence[int], works: Sequence[Work]) -> None:
        """Run a wave as `run_wave` does. The last writes are sent with the connection's next query."""
        info = self._connection.info
        info[COALESCER] = self
        try:
            ready = [(place, self._stage.free(), works[place]) for place in batch]
            self._busy = {place: greenlet for place, greenlet, _ in ready}
            while ready:
                ready = self._answered(self._until_they_ask(ready))
        finally:
            info.pop(COALESCER, None)
            for greenlet in self._busy.values():
                with suppress(Exception):
                    greenlet.throw()  # end the units that still wait for a result

    def send(self) -> None:
        """Send the buffered writes: the first write of every unit, equal statements combined, then the second writes, and so
        on.
        """
        written, self._written = self._written, {}
        for level in zip_longest(*written.values()):
            for statement, alike in _alike(one for one in level if one is not None):
                self._send(statement, alike)

    def _send(self, statement: CompiledStatement, alike: Sequence[_Written]) -> None:
        rows, missing = [row for one in alike for row in one.rows], next((one.missing for one in alike if one.missing), None)
        if missing is None:
            statement.send(self._connection, rows)
        else:
            statement.insist(self._connection, rows, missing)

    def _until_they_ask(self, ready: Sequence[_Ready]) -> list[_Asking]:
        """Run each ready unit up to its next query, and return these queries. Stores the result of a unit that ends."""
        asking = []
        for place, greenlet, told in ready:
            what, said = self._run(place, greenlet, told)
            if what is ENDED:
                self._results[place] = said
                self._stage.idle.append(self._busy.pop(place))
            else:
                answers = [None] * len(said)
                asking += [_Asking(place, greenlet, one, with_, answers, n) for n, (one, with_) in enumerate(said)]
        return asking

    def _run(self, place: int, greenlet: Any, told: Any) -> Any:
        self._place = place
        try:
            said = greenlet.switch(told)
        except _Unsettled as unsettled:
            raise unsettled.__cause__ from None  # type: ignore[misc]  # always raised from one
        except Exception as error:
            raise UnitFailed(place, error) from error
        _check_unbroken(self._connection, place)
        return said

    def _answered(self, asking: Sequence[_Asking]) -> list[_Ready]:
        """Send the buffered writes, then each distinct query once for all units that make it; return the units to resume."""
        self.send()
        said = [(alike, statement.send(self._connection, [one.values for one in alike])) for statement, alike in _alike(asking)]
        for alike, answers in said:
            for one, answer in zip(alike, answers(), strict=True):
                one.told[one.which] = answer
        return [(one.place, one.greenlet, one.told) for one in asking if one.which == 0]


def _alike(those: Iterable[_Said]) -> Iterable[tuple[CompiledStatement, list[_Said]]]:
    """Group by statement, in the order of the first occurrence."""
    found: dict[CompiledStatement, list[_Said]] = {}
    for one in those:
        found.setdefault(one.statement, []).append(one)
    return found.items()


def _stage(connection: Connection) -> GreenletPool:
    """Return the connection's pool of greenlets, made anew in another thread, because greenlets belong to the thread that made
    them.
    """
    from greenlet import getcurrent

    stage: GreenletPool | None = connection.info.get(STAGE)
    if stage is None or stage.hub is not getcurrent():
        stage = connection.info[STAGE] = GreenletPool()
    return stage
