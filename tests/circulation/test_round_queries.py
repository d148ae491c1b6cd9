"""Queries of rounds, jobs and a patron's record for each request that they read: a number that may only fall.

A library has thousands of requests, and a round holds the writer for each of its batches. A query that belongs to the
batch must not be asked for each request. Each row is measured with some requests, then with twice as many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import pytest
from sqlalchemy import event

from hkall_gateway.circulation.command import Job
from hkall_gateway.circulation.jobs.rounds import ROUNDS
from hkall_gateway.circulation.loans import RenewAll
from hkall_gateway.circulation.queries import SeePatron
from hkall_gateway.circulation.registry import HANDLERS
from hkall_gateway.circulation.staff.closure_changes import MoveClosedDays, MoveDueDates
from hkall_gateway.rules.settings import Notices, Policy, Retention
from hkall_gateway.rules.vocabulary import Position
from tests.circulation.conftest import CLERK, DeskWorld, hkt

P = Position
MANY: Final = 4
LONG_AGO: Final = hkt("2016-01-04 10:00")
PAST: Final = date(2017, 2, 20)
SOON: Final = date(2017, 3, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A round or job, the requests that it reads, and the most queries that each of them may need.

    Attributes:
        run: Runs it, and returns how many requests it processed.
        add: Adds the request with this index.
        queries: Most queries for one more request.
        idle: Whether the round leaves these requests alone.
    """

    run: Callable[[DeskWorld], object]
    add: Callable[[DeskWorld, int], object]
    queries: int
    idle: bool = False


def at(position: Position, **facts: Any) -> Callable[[DeskWorld, int], object]:
    """A function that adds a request at this position, with a copy and a number of its own."""

    def add(library: DeskWorld, index: int) -> object:
        copy = {} if position in {P.NEW, P.REQUESTED, P.CANCELLING} else {"item_agency": "CUHK", "item_barcode": f"X{index}"}
        number = {"wire_id": f"R{index + 1}-1"}
        return library.given(position, **{**copy, **number, **facts})

    return add


def loan(**facts: Any) -> Callable[[DeskWorld, int], object]:
    def add(library: DeskWorld, index: int) -> object:
        return library.lent_out(item_agency="CUHK", item_barcode=f"X{index}", wire_id=f"R{index + 1}-1", **facts)

    return add


def noted_stall(library: DeskWorld, index: int) -> None:
    at(P.TO_RETURN, moved_at=LONG_AGO)(library, index)
    library.round("stuck")


def round_of(name: str) -> Callable[[DeskWorld], object]:
    return lambda library: library.round(name)


def job(command: Any) -> Callable[[DeskWorld], object]:
    return lambda library: len(library.ask(library.circulation.run_job(command)))


def move_closed_days(library: DeskWorld) -> object:
    library.close_on("HKU", SOON.isoformat())
    return job(MoveClosedDays(by=CLERK, reason="typhoon"))(library)


def renew_all(library: DeskWorld) -> object:
    return len(library.ask(library.circulation.execute(RenewAll(by=CLERK, card="UG1"))).renewed)


def see_patron(library: DeskWorld) -> object:
    return len(library.ask(library.circulation.execute(SeePatron(by=CLERK, card="UG1"))).lines)


LATE = {"wire_id": "", "attempt": 1}
MOVED = MoveDueDates(by=CLERK, first=SOON, last=SOON, to=date(2017, 3, 20), reason="typhoon")

# fmt: off
ROWS: Final[Mapping[str, Row]] = {
    "pickup_expiry":         Row(run=round_of("pickup_expiry"), add=at(P.RECEIVED, pickup_last=PAST), queries=0),
    "pickup_reminder":       Row(run=round_of("pickup_reminder"), add=at(P.RECEIVED, pickup_last=date(2017, 3, 2)), queries=0),
    "overdue":               Row(run=round_of("overdue"), add=loan(on="2017-02-01"), queries=0),
    "not_needed_after":      Row(run=round_of("not_needed_after"), add=at(P.REQUESTED, need_before=PAST), queries=1),
    "postponed":             Row(run=round_of("postponed"), add=at(P.NEW, **LATE), queries=2),
    "silence":               Row(run=round_of("silence"), add=at(P.REQUESTED, moved_at=LONG_AGO), queries=6),
    "silence, not yet over": Row(run=round_of("silence"), add=at(P.REQUESTED, moved_at=hkt("2017-02-27 10:00")), queries=2,
                                 idle=True),
    "stuck":                 Row(run=round_of("stuck"), add=at(P.TO_RETURN, moved_at=LONG_AGO), queries=1),
    "stuck, already noted":  Row(run=round_of("stuck"), add=noted_stall, queries=1, idle=True),
    "purge":                 Row(run=round_of("purge"), add=at(P.CLOSED, moved_at=LONG_AGO), queries=0),
    "MoveClosedDays":        Row(run=move_closed_days, add=loan(on="2017-02-19"), queries=0),
    "MoveDueDates":          Row(run=job(MOVED), add=loan(on="2017-02-19"), queries=1),
    "RenewAll":              Row(run=renew_all, add=loan(on="2017-02-20"), queries=1),
    "SeePatron":             Row(run=see_patron, add=loan(), queries=0),
}
# fmt: on
WITHOUT_REQUESTS: Final = {"inbox_cleanup", "loads"}
OF_A_PATRON: Final = {"RenewAll", "SeePatron"}


def queries_of(row: Row, size: int) -> list[str]:
    """The queries of one run over `size` requests."""
    library = DeskWorld(Policy(retention=Retention(anonymise_days=30), notices=Notices(pickup_reminder=True)))
    for index in range(size):
        row.add(library, index)
    heard: list[str] = []
    event.listen(library.engine, "before_cursor_execute", lambda _c, _cursor, text, *_rest: heard.append(text))
    processed = row.run(library)
    library.close()
    assert processed == (0 if row.idle else size)
    return [text for text in heard if text.lstrip().startswith(("SELECT", "WITH"))]


def test_each_round_and_job_has_a_row() -> None:
    named = {name.partition(",")[0] for name in ROWS} | WITHOUT_REQUESTS
    jobs = {kind.__name__ for kind in HANDLERS if issubclass(kind, Job)}
    assert named - OF_A_PATRON == ROUNDS.keys() | jobs


@pytest.mark.parametrize("name", ROWS)
def test_round_asks_no_more_for_each_request(name: str) -> None:
    row = ROWS[name]
    some, twice = queries_of(row, MANY), queries_of(row, 2 * MANY)
    assert len(twice) - len(some) <= MANY * row.queries, twice
