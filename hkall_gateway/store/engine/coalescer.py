"""The units of a group take turns: each runs until it asks something of the database, and what all ask is asked in one trip.

PostgreSQL only, where a trip to the server costs as much as all that a unit does itself. No unit knows of it: each runs on a
greenlet of its own in the group's thread, and what it asks comes back as if it had been alone. Who decides about the same as
another never takes turns with it, so that units share a transaction as two gateways share the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection

from hkall_gateway.store.engine.compiled import CompiledStatement, Values
from hkall_gateway.store.engine.pipelined import TRIPS, TURNS, settle

Work = Callable[[], Any]
ASKED: Final = "asked"
ENDED: Final = "ended"
STAGE: Final = "stage"


class Raised(Exception):
    """What the unit at this place raised."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place, error)
        self.place, self.error = place, error


class BrokenOff(Exception):
    """The transaction ended inside a unit that said nothing of it."""


class _Unsettled(Exception):
    """What the database said of something that one of the units had written, whichever it was."""


class _Asking(NamedTuple):
    """A unit at its place on its greenlet: one of the questions whose answers it waits for in `told`, and which of them."""

    place: int
    greenlet: Any
    statement: CompiledStatement
    values: Values
    told: list[Any]
    which: int


class _Written(NamedTuple):
    """What a unit wrote, of which nobody has told the database; `missing` is raised where a row of it was not there."""

    place: int
    statement: CompiledStatement
    rows: Sequence[Values]
    missing: Exception | None


_Said = TypeVar("_Said", _Asking, _Written)
_Question = tuple[CompiledStatement, Values]
_Ready = tuple[int, Any, Any]
"""Who may run on, at its place on its greenlet, and what it is told: its work, or the answers to what it asked."""


def waves(decided: Sequence[Set[str]]) -> list[list[int]]:
    """The places of a group's units as they may take turns, wave after wave.

    `decided`: what each decides about. Who shares some of it with an earlier one comes after it; who does not say what it
    decides about comes after all that were before it, and by itself.
    """
    found: list[list[int]] = []
    last: dict[str, int] = {}
    first = 0
    for place, names in enumerate(decided):
        wave = max((last[name] + 1 for name in names if name in last), default=first) if names else len(found)
        wave = max(wave, first)
        found += [[]] if wave == len(found) else []
        found[wave].append(place)
        last.update(dict.fromkeys(names, wave))
        first = first if names else len(found)
    return found


def run_wave(connection: Connection, wave: Sequence[int], works: Sequence[Work], results: list[Any]) -> None:
    """Do the works at these places, and put what each answered at its place of `results`.

    Raises Raised where one of them raised, and what the database said where a statement of several failed.
    """
    if connection.dialect.name != "sqlite":
        Turns(connection, results).take(wave, works)
        return
    for place in wave:
        try:
            results[place] = works[place]()
        except Exception as error:
            raise Raised(place, error) from error
        _check_unbroken(connection, place)


def _check_unbroken(connection: Connection, place: int) -> None:
    """Raises Raised if the transaction is no longer open and takes no statements. Asks the driver alone, not the database."""
    here: Any = connection.connection.dbapi_connection if connection.dialect.name == "sqlite" else connection.info[TRIPS]
    if not here.in_transaction:
        raise Raised(place, BrokenOff())


def at_once(connection: Connection, works: Sequence[Work]) -> list[Any]:
    """What each of these answers, in their order. They only ask; where units take turns, what each asks first goes together."""
    turns = connection.info.get(TURNS)
    return turns.at_once(works) if turns is not None else [work() for work in works]


@contextmanager
def by_itself(connection: Connection) -> Iterator[None]:
    """What is said inside is said at once, and no other unit runs meanwhile: for whoever may undo what was done inside."""
    settle(connection)
    info = connection.info  # a connection that breaks meanwhile does not give it any more
    turns = info.pop(TURNS, None)
    try:
        yield
    finally:
        if turns is not None:
            info[TURNS] = turns


class Stage:
    """Greenlets on which one unit after another runs, since a new one costs as much as a trip; `idle` ones wait for theirs."""

    def __init__(self) -> None:
        from greenlet import getcurrent, greenlet  # it comes with the extra `postgres`, as the driver does

        self.hub, self._greenlet = getcurrent(), greenlet
        self.idle: list[Any] = []

    def free(self) -> Any:
        """One that is told a work, and says (ENDED, what that answered)."""
        return self.idle.pop() if self.idle else self._greenlet(self._work)

    def _work(self, work: Work) -> None:
        while True:
            work = self.hub.switch(ENDED, work())


class _AtOnce:
    """Several works of a unit, of which each is begun where the one before it has asked something; then all is asked."""

    def __init__(self, works: Sequence[Work], ask: Callable[[list[_Question]], list[Any]]) -> None:
        self._works, self._ask = works, ask
        self._begun = 0
        self._questions: list[_Question] = []
        self._told: list[Any] | None = None
        self.answers: list[Any] = [None] * len(works)

    def run(self) -> None:
        """Begin each that has not been begun."""
        while self._begun < len(self._works):
            which = self._begun
            self._begun += 1
            self.answers[which] = self._works[which]()

    def ask(self, question: _Question) -> Any:
        """The answer; the questions of the others go with the first of each."""
        if self._told is not None:
            return self._ask([question])[0]
        which = len(self._questions)
        self._questions.append(question)
        self.run()
        if self._told is None:
            self._told = self._ask(self._questions)
        return self._told[which]


class Turns:
    """Units that take turns on one connection, which asks it first, while they do. What they answer is put into `results`."""

    def __init__(self, connection: Connection, results: list[Any]) -> None:
        self._connection, self._results = connection, results
        self._stage = _stage(connection)
        self._busy: dict[int, Any] = {}
        self._written: dict[int, list[_Written]] = {}
        self._at_once: dict[int, _AtOnce] = {}
        self._place = 0

    # ---- what a unit says

    def ask(self, statement: CompiledStatement, values: Values) -> Any:
        """The answer, once the others have had their turns."""
        together = self._at_once.get(self._place)
        return together.ask((statement, values)) if together else self._ask([(statement, values)])[0]

    def write(self, statement: CompiledStatement, rows: Sequence[Values], missing: Exception | None) -> None:
        """It will be there before the same unit is told anything; `missing` ends the unit where a row was not there."""
        self._written.setdefault(self._place, []).append(_Written(self._place, statement, rows, missing))

    def at_once(self, works: Sequence[Work]) -> list[Any]:
        """What each of these works of a unit answers."""
        together = self._at_once[self._place] = _AtOnce(works, self._ask)
        try:
            together.run()
        finally:
            self._at_once.pop(self._place, None)
        return together.answers

    def settle(self) -> None:
        """Have all done that any of them has written, before one says something to the database itself."""
        try:
            self.send()
            self._connection.info[TRIPS].go()
        except Exception as error:
            raise _Unsettled from error

    def _ask(self, questions: list[_Question]) -> list[Any]:
        told: list[Any] = self._stage.hub.switch(ASKED, questions)
        return told

    # ---- how they take turns

    def take(self, wave: Sequence[int], works: Sequence[Work]) -> None:
        """As run_wave; what they wrote last goes with what the connection is asked next."""
        info = self._connection.info
        info[TURNS] = self
        try:
            ready = [(place, self._stage.free(), works[place]) for place in wave]
            self._busy = {place: greenlet for place, greenlet, _ in ready}
            while ready:
                ready = self._answered(self._until_they_ask(ready))
        finally:
            info.pop(TURNS, None)
            for greenlet in self._busy.values():
                with suppress(Exception):
                    greenlet.throw()  # whoever still waits for an answer ends here

    def send(self) -> None:
        """Hand over what was written: first what each unit wrote first, alike together, and so on."""
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
        """Each that is ready runs on: what it asks next. What it answers at its end is put into the results."""
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
            raise Raised(place, error) from error
        _check_unbroken(self._connection, place)
        return said

    def _answered(self, asking: Sequence[_Asking]) -> list[_Ready]:
        """Say what was written, and ask each statement once, for all who ask it."""
        self.send()
        said = [(alike, statement.send(self._connection, [one.values for one in alike])) for statement, alike in _alike(asking)]
        for alike, answers in said:
            for one, answer in zip(alike, answers(), strict=True):
                one.told[one.which] = answer
        return [(one.place, one.greenlet, one.told) for one in asking if one.which == 0]


def _alike(those: Iterable[_Said]) -> Iterable[tuple[CompiledStatement, list[_Said]]]:
    """Each statement with all who say it, in the order of the first of them."""
    found: dict[CompiledStatement, list[_Said]] = {}
    for one in those:
        found.setdefault(one.statement, []).append(one)
    return found.items()


def _stage(connection: Connection) -> Stage:
    """The one of this connection, which stays with it. Greenlets belong to the thread in which they were made."""
    from greenlet import getcurrent

    stage: Stage | None = connection.info.get(STAGE)
    if stage is None or stage.hub is not getcurrent():
        stage = connection.info[STAGE] = Stage()
    return stage
