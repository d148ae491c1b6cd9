"""Whether a stored reply is still valid, for each kind of outcome that the inbox stores."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import pytest

from hkall_gateway import circulation
from hkall_gateway.circulation import idempotency
from hkall_gateway.circulation.borrowing import Cancelled, Requested
from hkall_gateway.circulation.idempotency import NEVER_UNDONE, OF_A_REQUEST, TAKEN_IN, WITH_THE_COPY, status_stands
from hkall_gateway.circulation.lending import Paged
from hkall_gateway.circulation.loans import AllRenewed
from hkall_gateway.circulation.partners.partner_reports import Changed, StatusSet
from hkall_gateway.circulation.recalls import Recalled
from hkall_gateway.circulation.results import CheckedOut, Done, Noted, Refused, Renewed
from hkall_gateway.circulation.returning import Arrival, CheckedIn
from hkall_gateway.rules.messages.json_records import _NAMES
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.vocabulary import Holding, ItemKey, Position, Request, Side

P = Position
NOON = datetime(2017, 3, 9, 4, tzinfo=UTC)
DUE, LATER = date(2017, 3, 24), date(2017, 4, 8)
C1 = ItemKey("CUHK", "C1")
LOAN = Request(
    id="R1",
    side=Side.BORROWING,
    position=P.ON_LOAN,
    title="Dune",
    bib_id="b1",
    item_agency="CUHK",
    item_barcode="C1",
    due=DUE,
    renewals=1,
)
LENT = Request(
    id="R1",
    side=Side.LENDING,
    position=P.SHIPPED,
    title="Dune",
    bib_id="b1",
    item_agency="HKU",
    item_barcode="K9",
    lender_due=DUE,
    renewals=1,
)
PLACED = Requested(request="R1", patron="P1", placed_by="D", placed_id="", bib_id="b1")
WITHDRAWN = Cancelled(request="R1", patron="P1", placed_by="D", placed_id="")
PAGED = Paged(request="R1", wire_agency="CUHK", wire_id="c-1", item=C1, title="Dune")
RENEWED = Renewed(request="R1", item=C1, card="P1", title="Dune", due=DUE, renewals=1)
OUT = CheckedOut(request="R1", item=C1, card="P1", title="Dune", due=DUE)
WIRE: dict[str, Any] = {"wire_agency": "HKU", "wire_id": "R1-1"}
SENT = Noted(request="R1", wire_agency="HKU", wire_id="R1-1", item=C1, position=P.IN_TRANSIT)
RECALLED = Recalled(request="R1", item=C1, due=DUE, position=P.ON_LOAN, recalled=True)
NOT_RECALLED = replace(RECALLED, recalled=False)
CLAIMED = Done(request="R1", item=C1, position=P.ON_LOAN, mark="claimed_on")
CHANGED = Changed(request="R1", placed_by="D", placed_id="d-1", patron="P1", item=C1, pickup_location="A")


def at(position: Position, **facts: Any) -> Request:
    return replace(LOAN, position=position, **facts)


def came(what: str) -> CheckedIn:
    return CheckedIn(request="R1", item=C1, title="Dune", what=Arrival(what))


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
    (replace(OUT, undone=True), at(P.RECEIVED),                  True),
    (replace(OUT, undone=True), LOAN,                            False),
    (Noted(request="R1"),      at(P.CANCELLED),                          True),
    (SENT,             at(P.IN_TRANSIT, **WIRE),                 True),
    (SENT,             at(P.CLOSED, **WIRE),                     True),
    (SENT,             at(P.REQUESTED, **WIRE),                  False),
    (SENT,             at(P.IN_TRANSIT, wire_agency="HKU", wire_id="R1-2"),              False),
    (SENT,             at(P.IN_TRANSIT, **WIRE, item_barcode="C2"), False),
    (RECALLED,         replace(LOAN, recalled_on=DUE),           True),
    (RECALLED,         LOAN,                                     False),
    (RECALLED,         replace(LOAN, recalled_on=DUE, due=LATER), False),
    (RECALLED,         at(P.RETURN_TRANSIT, recalled_on=DUE),    False),
    (NOT_RECALLED,     LOAN,                                     True),
    (NOT_RECALLED,     replace(LOAN, recalled_on=DUE),           False),
    (CLAIMED,          replace(LOAN, claimed_on=DUE),            True),
    (CLAIMED,          LOAN,                                     False),
    (replace(CLAIMED, mark=""), LOAN,                            True),
    (CHANGED,          at(P.REQUESTED, pickup_location="A"),     True),
    (CHANGED,          at(P.REQUESTED, pickup_location="B"),     False),
    (CHANGED,          at(P.REQUESTED, pickup_location="A", need_before=DUE), False),
)
# fmt: on


@pytest.mark.parametrize(("outcome", "request_now", "still"), ROWS, ids=lambda value: type(value).__name__)
def test_stored_outcome_is_valid_until_another_event(outcome: object, request_now: Request, still: bool) -> None:
    assert OF_A_REQUEST[type(outcome)](outcome, request_now) is still


def test_stored_status_is_valid_until_another_is_set() -> None:
    copy = Holding(agency="CUHK", barcode="C1", bib_id="b1", title="Dune", status="Available On Shelf")
    assert status_stands(StatusSet(C1, status="Available On Shelf"), copy)
    assert not status_stands(StatusSet(C1, status="Lost"), copy)


def test_renew_all_is_checked_per_loan_except_pending_renewals() -> None:
    asked = replace(RENEWED, pending=True)
    assert idempotency.parts(AllRenewed((RENEWED, asked), ())) == (RENEWED,)


def outcome_types() -> set[type]:
    """Every result record of the service layer that can be stored for a repeated document, except a refusal."""
    modules = [import_module(found.name) for found in walk_packages(circulation.__path__, f"{circulation.__name__}.")]
    kinds = {kind for module in modules for kind in vars(module).values() if is_dataclass(kind) and isinstance(kind, type)}
    return {kind for kind in kinds if kind in _NAMES and kind.__module__.startswith(circulation.__name__)} - {Refused}


def test_every_stored_outcome_has_one_validity_check() -> None:
    judged = [*OF_A_REQUEST, *NEVER_UNDONE, StatusSet, AllRenewed]
    assert sorted(kind.__name__ for kind in judged) == sorted(kind.__name__ for kind in outcome_types())


def test_every_request_validity_check_is_tested_valid_and_invalid() -> None:
    assert {(type(outcome), still) for outcome, _, still in ROWS} == {
        (kind, still) for kind in OF_A_REQUEST for still in (True, False)
    }
    assert OF_A_REQUEST.keys() >= WITH_THE_COPY


def test_every_checkin_kind_defines_where_the_item_goes() -> None:
    assert all(TAKEN_IN.values())
    assert {P.CLOSED} == frozenset.union(*TAKEN_IN.values()) & FINAL
