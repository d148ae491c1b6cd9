"""The units of a group take turns: each runs until it asks something of the database, and what all ask is asked in one trip.

PostgreSQL only, where a trip to the server costs as much as all that a unit does itself. No unit knows of it: each runs on a
greenlet of its own in the group's thread, and what it asks comes back as if it had been alone. Who decides about the same as
another never takes turns with it, so that units share a transaction as two gateways share the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from hkall_gateway.store.prepared import TURNS, Prepared

Work = Callable[[], Any]
Asking = tuple[int, Prepared, Mapping[str, Any]]
"""A unit's place, its statement and the values."""
Ready = list[tuple[int, tuple[Any, ...]]]
"""Places of units that may run on, and what they are told: nothing at first, then an answer."""


class Raised(Exception):
    """What the unit at this place raised."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place, error)
        self.place, self.error = place, error


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
    if len(wave) > 1:
        _take_turns(connection, wave, works, results)
        return
    (place,) = wave
    try:
        results[place] = works[place]()
    except Exception as error:
        raise Raised(place, error) from error


@contextmanager
def by_itself(connection: Connection) -> Iterator[None]:
    """What is asked inside is asked at once, and no other unit runs meanwhile: for whoever may undo what was done inside."""
    ask = connection.info.pop(TURNS, None)
    try:
        yield
    finally:
        if ask is not None:
            connection.info[TURNS] = ask


def _take_turns(connection: Connection, wave: Sequence[int], works: Sequence[Work], results: list[Any]) -> None:
    from greenlet import getcurrent, greenlet  # it comes with the extra `postgres`, as the driver does

    here, turns = getcurrent(), {place: greenlet(works[place]) for place in wave}
    connection.info[TURNS] = lambda statement, values: here.switch(statement, values)
    ready: Ready = [(place, ()) for place in wave]
    try:
        while ready:
            ready = _answered(connection, list(_until_they_ask(turns, ready, results)))
    finally:
        del connection.info[TURNS]
        for turn in turns.values():
            turn.throw()  # whoever still waits for an answer ends here


def _until_they_ask(turns: Mapping[int, Any], ready: Ready, results: list[Any]) -> Iterator[Asking]:
    """Each that is ready runs on: what it asks next. What it answers at its end is put into `results`."""
    for place, told in ready:
        try:
            said = turns[place].switch(*told)
        except Exception as error:
            raise Raised(place, error) from error
        if turns[place].dead:
            results[place] = said
        else:
            yield place, *said


def _answered(connection: Connection, asking: Sequence[Asking]) -> Ready:
    """Ask each statement once, for all who ask it."""
    alike: dict[Prepared, list[Asking]] = {}
    for one in asking:
        alike.setdefault(one[1], []).append(one)
    ready: Ready = []
    for statement, same in alike.items():
        answers = statement.answers(connection, [values for _, _, values in same])
        ready += ((place, (answer,)) for (place, _, _), answer in zip(same, answers, strict=True))
    return ready
