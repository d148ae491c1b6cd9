"""Queries of a unit of work: records, open requests by index, quota counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import date, datetime, timedelta
from operator import attrgetter

import pytest
from sqlalchemy import insert

from hkall_gateway.db.loads import loading
from hkall_gateway.db.tables import CLOSURES
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.positions import FINAL, TAKES_QUOTA
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import (
    Actor,
    Borrower,
    Candidate,
    Holding,
    ItemKey,
    Position,
    Refusal,
    Request,
    RequestEntry,
    Sensitive,
    Side,
)
from hkall_gateway.simulator.databases import SoleStore

Standing = Callable[..., Request]
Plan = Callable[..., str]
BORROWED = sorted(
    set(Position) - {Position.PAGED, Position.SHIPPED, Position.AT_BORROWER, Position.DECLINED, Position.WITHDRAWN}
)


# ---- people, copies, days


def test_lookup_of_an_unknown_key_returns_none(store: SoleStore) -> None:
    assert store.now(lambda unit: unit.patrons.find("P1")) is None
    assert store.now(lambda unit: unit.holdings.find(ItemKey("CUHK", "C1"))) is None
    assert store.now(lambda unit: unit.requests.find("R1")) is None
    assert store.now(lambda unit: unit.partners.find("CUHK")) is None


def test_repr_of_a_patron_omits_the_name(store: SoleStore) -> None:
    store.now(loading.write, "patrons", [Borrower(barcode="P1", name=Sensitive("Chan Tai Man"), category="staff")], 1)
    found = store.now(lambda unit: unit.patrons.find("P1"))
    assert found is not None
    assert found.name.reveal() == "Chan Tai Man"
    assert "Chan" not in repr(found)


def test_title_is_found_by_union_id_or_local_id(store: SoleStore) -> None:
    ours = Holding(agency="HKU", barcode="H1", bib_id="b1", title="Dune", local_bib_id="99")
    theirs = Holding(agency="CUHK", barcode="C1", bib_id="b1", title="Dune", local_bib_id="55")
    store.now(loading.write, "holdings", [ours, theirs], 1)
    assert store.now(lambda unit: unit.holdings.of_title("b1")) == (theirs, ours)
    assert store.now(lambda unit: unit.holdings.of_title("99", "HKU")) == (ours,)
    assert store.now(lambda unit: unit.holdings.of_title("b1", "HKU")) == (ours,)
    assert store.now(lambda unit: unit.holdings.of_title("55", "HKU")) == ()


def test_closed_days_are_kept_per_library(store: SoleStore) -> None:
    rows = [{"agency": "HKU", "day": date(2017, 4, 4)}, {"agency": "CUHK", "day": date(2017, 4, 5)}]
    store.now(lambda unit: unit.execute(insert(CLOSURES), rows))
    assert store.now(lambda unit: unit.partners.closed_days("HKU")) == {date(2017, 4, 4)}


# ---- requests


def test_request_is_found_by_any_of_its_identifiers(store: SoleStore, standing: Standing) -> None:
    borrowed = standing(Position.REQUESTED, placed_by="HKU-DISCOVERY", placed_id="d-7")
    lent = standing(Position.PAGED, side=Side.LENDING, wire_agency="CUHK", wire_id="x-9")
    assert store.now(lambda unit: unit.requests.find_placed("HKU-DISCOVERY", "d-7")) == borrowed
    assert store.now(lambda unit: unit.requests.find_lent("CUHK", "x-9")) == lent
    assert store.now(lambda unit: unit.requests.find_lent("HKU", "w-1")) is None


def test_attempt_of_a_former_lender_is_found(store: SoleStore, standing: Standing) -> None:
    request = standing(Position.REQUESTED, wire_id="w-2")
    former, present = (
        Candidate(request=request.id, rank=1, agency="CUHK", barcode="C1", wire_id="w-1"),
        Candidate(request=request.id, rank=2, agency="PolyU", barcode="C2", wire_id="w-2"),
    )
    store.now(lambda unit: unit.candidates.add((former, present)))
    assert store.now(lambda unit: unit.requests.find_by_wire_id("w-1")) == (request, former)
    assert store.now(lambda unit: unit.requests.find_by_wire_id("w-3")) is None


@pytest.mark.parametrize("position", list(Position))
def test_only_requests_that_have_not_ended_are_listed_as_open(store: SoleStore, standing: Standing, position: Position) -> None:
    request = standing(position, copy="C1")
    expected = (request,) if position not in FINAL else ()
    assert store.now(lambda unit: unit.requests.open_with_item("C1")) == expected
    assert store.now(lambda unit: unit.requests.open_with_item("C1", "CUHK")) == expected
    assert store.now(lambda unit: unit.requests.open_with_item("C1", "PolyU")) == ()
    assert store.now(lambda unit: unit.requests.open_of_patron("P1")) == expected


def test_patron_requests_are_listed_oldest_first(store: SoleStore, standing: Standing, now: datetime) -> None:
    days = [3, 1, 2]
    placed = {day: standing(Position.NEW, placed_at=now + timedelta(days=day)) for day in days}
    assert store.now(lambda unit: unit.requests.open_of_patron("P1")) == (placed[1], placed[2], placed[3])


def test_patron_record_rows_match_their_requests(store: SoleStore, standing: Standing, now: datetime) -> None:
    standing(Position.NEW, placed_at=now)
    standing(Position.ON_LOAN, copy="C1", placed_at=now + timedelta(days=1), due=now.date(), recalled_on=now.date(), renewals=2)
    standing(Position.RECEIVED, copy="C2", placed_at=now - timedelta(days=1), pickup_last=now.date(), placed_id="d-1")
    shown = [
        RequestEntry(**{f.name: getattr(request, f.name) for f in fields(RequestEntry)})
        for request in store.now(lambda unit: unit.requests.open_of_patron("P1"))
    ]
    assert list(store.now(lambda unit: unit.patrons.open_lines("P1"))) == shown
    assert len(shown) == 3


def test_last_borrower_of_an_item_is_found_after_its_return(
    store: SoleStore, standing: Standing, now: datetime, by: Actor
) -> None:
    standing(Position.CLOSED, copy="C1", moved_at=now - timedelta(days=9))
    last = standing(Position.CLOSED, copy="C1", moved_at=now - timedelta(days=2))
    standing(Position.CLOSED, copy="C2")
    assert store.now(lambda unit: unit.requests.last_with_item(ItemKey("CUHK", "C1"))) == last


def test_open_requests_are_listed_oldest_first(store: SoleStore, standing: Standing, now: datetime) -> None:
    placed = {day: standing(Position.NEW, placed_at=now + timedelta(days=day)) for day in (3, 1, 2)}
    standing(Position.CLOSED)
    assert store.now(lambda unit: unit.requests.open_list()) == (placed[1], placed[2], placed[3])
    assert store.now(lambda unit: unit.requests.open_list("NEW", "CUHK")) == store.now(lambda unit: unit.requests.open_list())
    assert (
        store.now(lambda unit: unit.requests.open_list("RECEIVED"))
        == store.now(lambda unit: unit.requests.open_list("", "PolyU"))
        == ()
    )


@pytest.mark.parametrize("position", BORROWED)
def test_quota_counts_requests_in_its_positions(store: SoleStore, standing: Standing, position: Position) -> None:
    standing(position)
    assert store.now(lambda unit: unit.requests.quota_used("P1", TAKES_QUOTA)) == (1 if position in TAKES_QUOTA else 0)


def test_quota_excludes_the_request_itself_other_patrons_and_unneeded_requests(store: SoleStore, standing: Standing) -> None:
    mine = standing(Position.REQUESTED)
    standing(Position.ON_LOAN)
    standing(Position.REQUESTED, patron="P2")
    standing(Position.IN_TRANSIT, unwanted=True)
    assert store.now(lambda unit: unit.requests.quota_used("P1", TAKES_QUOTA)) == 2
    assert store.now(lambda unit: unit.requests.quota_used("P1", TAKES_QUOTA, mine.id)) == 1


def test_patron_without_charges_has_a_zero_balance(store: SoleStore) -> None:
    assert store.now(lambda unit: unit.patrons.owed_cents("P1")) == 0


# ---- overview


def test_overview_counts_open_requests_and_gives_the_time_of_the_oldest(
    store: SoleStore, standing: Standing, now: datetime
) -> None:
    standing(Position.ON_LOAN, moved_at=now - timedelta(days=3))
    standing(Position.ON_LOAN, moved_at=now)
    standing(Position.CLOSED)
    standing(Position.PAGED, side=Side.LENDING)
    assert store.now(lambda unit: unit.requests.open_by_position()) == (
        ("borrow", "ON_LOAN", 2, now - timedelta(days=3)),
        ("lend", "PAGED", 1, now),
    )


@pytest.mark.parametrize("what", ["R1", "C1", "P1"])
def test_history_is_found_by_request_item_or_patron(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, what: str
) -> None:
    request = standing(Position.RECEIVED, copy="C1")
    standing(Position.RECEIVED, copy="C2", patron="P2")
    loan = store.now(UnitOfWork.advance, request, Event.CHECK_OUT, now, by)
    store.now(UnitOfWork.advance, loan, Event.RETURN, now, by)
    assert [line["event"] for line in store.now(lambda unit: unit.journal.history(what))] == ["OPEN", "CHECK_OUT", "RETURN"]


def test_patron_history_includes_entries_of_open_and_ended_requests_and_without_a_request(
    store: SoleStore, standing: Standing, now: datetime, by: Actor
) -> None:
    standing(Position.RECEIVED, copy="C1")
    standing(Position.CLOSED, copy="C2")
    standing(Position.CLOSED, copy="C3", patron="P2")
    store.now(UnitOfWork.refuse, Refusal(Reason.UNKNOWN_ITEM), now, by, None, "P1")
    store.now(UnitOfWork.refuse, Refusal(Reason.UNKNOWN_ITEM), now, by, None, "P2")
    found = [(line["request"], line["event"]) for line in store.now(lambda unit: unit.journal.history("P1"))]
    assert found == [("R1", "OPEN"), ("R2", "OPEN"), ("", "REFUSED")]


# ---- indexes


@pytest.mark.parametrize(
    ("work", "args", "index"),
    [
        ("requests.open_of_patron",   ("P1",),                  "ix_requests_open_patron"),
        ("patrons.open_lines",      ("P1",),                  "ix_requests_open_patron"),
        ("requests.open_with_item",   ("C1",),                  "ix_requests_open_barcode"),
        ("requests.quota_used",      ("P1", TAKES_QUOTA),      "ix_requests_open_patron"),
        ("requests.last_with_item",       (ItemKey("CUHK", "C1"),), "ix_requests_item"),
        ("requests.find_placed",  ("HKU-DISCOVERY", "d1"),  "ix_requests_placed"),
        ("requests.find_lent",    ("CUHK", "x1"),           "ix_requests_wire"),
        ("requests.find_by_wire_id",   ("w-1",),                 "ix_candidates_wire_id"),
        ("holdings.of_title",          ("b1",),                  "ix_holdings_bib_id"),
        ("patrons.owed_cents",      ("P1",),                  "ix_fines_patron"),
    ],
)  # fmt: skip
def test_queries_for_every_message_use_an_index(plan: Plan, work: str, args: tuple[object, ...], index: str) -> None:
    assert index in plan(lambda unit: attrgetter(work)(unit)(*args))


@pytest.mark.parametrize(
    ("work", "args"),
    [
        ("requests.open_by_position", ()),
        ("requests.open_list", ()),
        ("requests.open_list", ("ON_LOAN",)),
        ("journal.history", ("P1",)),
    ],
)
def test_work_list_queries_do_not_scan_a_table(plan: Plan, work: str, args: tuple[object, ...]) -> None:
    found = plan(lambda unit: attrgetter(work)(unit)(*args))
    scans = [line for line in found.splitlines() if "Seq Scan" in line or ("SCAN" in line and "USING" not in line)]
    assert [line for line in scans if "requests" in line.lower() or "journal" in line.lower()] == []
