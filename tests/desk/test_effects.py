"""Whether what a document was answered still stands, for each kind of outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from hkall_gateway.desk.common.effects import TAKEN_IN, request_of, stands
from hkall_gateway.desk.messages.results import Cancelled, CheckedIn, CheckedOut, Noted, Paged, Renewed, Requested
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.vocabulary import ItemKey, Position, Request, Side

P = Position
NOON = datetime(2017, 3, 9, 4, tzinfo=UTC)
DUE, LATER = date(2017, 3, 24), date(2017, 4, 8)
C1 = ItemKey("CUHK", "C1")
LOAN = Request("R1", Side.BORROWING, P.ON_LOAN, "Dune", "b1", item_agency="CUHK", item_barcode="C1", due=DUE, renewals=1)
LENT = Request("R1", Side.LENDING, P.SHIPPED, "Dune", "b1", item_agency="HKU", item_barcode="K9", lender_due=DUE, renewals=1)
PLACED = Requested("R1", "P1", "D", "", "b1")
WITHDRAWN = Cancelled("R1", "P1", "D", "")
PAGED = Paged("R1", "CUHK", "c-1", C1, "Dune")
RENEWED = Renewed("R1", C1, "P1", "Dune", DUE, 1)
OUT = CheckedOut("R1", C1, "P1", "Dune", DUE)


def at(position: Position, **facts: Any) -> Request:
    return replace(LOAN, position=position, **facts)


def came(what: str) -> CheckedIn:
    return CheckedIn("R1", C1, "Dune", what)


# fmt: off
ROWS: tuple[tuple[object, Request, bool], ...] = (
    (PLACED,           at(P.REQUESTED),                          True),
    (PLACED,           at(P.NEW),                                True),
    (PLACED,           at(P.ON_LOAN),                            True),
    (PLACED,           at(P.CANCELLING),                         False),
    (PLACED,           at(P.CANCELLED),                          False),
    (PLACED,           at(P.UNFILLED),                           False),
    (PLACED,           at(P.IN_TRANSIT, unwanted=True),          False),
    (WITHDRAWN,        at(P.CANCELLING),                         True),
    (WITHDRAWN,        at(P.CANCELLED),                          True),
    (WITHDRAWN,        at(P.IN_TRANSIT, unwanted=True),          True),
    (WITHDRAWN,        at(P.REQUESTED),                          False),
    (PAGED,            replace(LENT, position=P.PAGED),          True),
    (PAGED,            replace(LENT, position=P.CLOSED),         True),
    (PAGED,            replace(LENT, position=P.DECLINED),       False),
    (PAGED,            replace(LENT, position=P.WITHDRAWN),      False),
    (RENEWED,          LOAN,                                     True),
    (RENEWED,          replace(LOAN, due=LATER),                 False),
    (RENEWED,          replace(LOAN, renewals=2),                False),
    (RENEWED,          replace(LOAN, recalled_on=DUE),           False),
    (RENEWED,          replace(LOAN, lost_on=DUE),               False),
    (RENEWED,          replace(LOAN, claimed_on=DUE),            False),
    (RENEWED,          at(P.RETURN_TRANSIT),                     False),
    (RENEWED,          at(P.ON_LOAN, renewed_at=NOON, moved_at=NOON),                       True),
    (RENEWED,          at(P.ON_LOAN, renewed_at=NOON, moved_at=NOON + timedelta(hours=1)),  False),
    (RENEWED,          LENT,                                     True),
    (RENEWED,          replace(LENT, lender_due=LATER),          False),
    (OUT,              LOAN,                                     True),
    (OUT,              replace(LOAN, due=LATER),                 False),
    (OUT,              replace(LOAN, recalled_on=DUE),           False),
    (OUT,              at(P.RECEIVED),                           False),
    (OUT,              replace(LENT, position=P.AT_BORROWER),    True),
    (came("received"), at(P.RECEIVED),                           True),
    (came("received"), LOAN,                                     False),
    (came("returned"), at(P.RETURN_TRANSIT),                     True),
    (came("returned"), at(P.CLOSED),                             True),
    (came("returned"), LOAN,                                     False),
    (came("again"),    at(P.RECEIVED),                           False),
    (came("uncollected"), at(P.RETURN_TRANSIT),                  True),
    (came("uncollected"), LOAN,                                  False),
    (Noted("R1"),      at(P.CANCELLED),                          True),
)
# fmt: on


@pytest.mark.parametrize(("outcome", "request_now", "still"), ROWS, ids=lambda value: type(value).__name__)
def test_an_outcome_stands_while_nothing_else_has_happened(outcome: object, request_now: Request, still: bool) -> None:
    assert stands(outcome, request_now) is still


def test_only_what_can_be_undone_or_overtaken_is_looked_at() -> None:
    assert [request_of(one) for one in (PLACED, WITHDRAWN, PAGED, RENEWED, OUT, came("home"), Noted("R1"))] == ["R1"] * 6 + [""]


def test_every_kind_of_check_in_leaves_the_copy_somewhere() -> None:
    assert all(TAKEN_IN.values())
    assert {P.CLOSED} == frozenset.union(*TAKEN_IN.values()) & FINAL
