"""The unit of work: new requests, steps, letters once, the inbox; what it writes and what it never writes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table
from sqlalchemy.exc import IntegrityError

import hkall_gateway
from hkall_gateway.db.loads import loading
from hkall_gateway.db.tables import JOURNAL, OUTBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import TABLE, Event, Notification, Step, side_of
from hkall_gateway.rules.messages.json_records import from_json
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage, PatronNotice, is_letter
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import FIRST
from hkall_gateway.rules.vocabulary import Actor, BadStep, Candidate, Holding, ItemKey, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore

PACKAGE = Path(hkall_gateway.__file__).parent
Standing = Callable[..., Request]
Rows = Callable[[Table], list[dict[str, Any]]]


def _wish(**facts: Any) -> Request:
    return replace(Request(id="", side=Side.BORROWING, position=Position.NEW, title="Dune", bib_id="b1", patron="P1"), **facts)


def _row_id(step: Step) -> str:
    return f"{step.source}-{step.event}"


# ---- births


def test_request_starts_with_the_next_number_and_a_journal_line(store: SoleStore, now: datetime, by: Actor, rows: Rows) -> None:
    born = store.now(UnitOfWork.open, _wish(), now, by)
    assert (born.id, born.placed_at, born.moved_at) == ("R1", now, now)
    assert store.now(lambda unit: unit.requests.find("R1")) == born
    line = rows(JOURNAL)[-1]
    assert (line["event"], line["request"], line["target"], line["who"], line["corr"]) == (
        "OPEN",
        "R1",
        "NEW",
        "counter-1",
        "c-1",
    )


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("position", Position)
def test_request_starts_only_at_an_initial_position_of_its_side(
    store: SoleStore, now: datetime, by: Actor, side: Side, position: Position
) -> None:
    wish = _wish(side=side, position=position)
    if position in FIRST[side]:
        assert store.now(UnitOfWork.open, wish, now, by).position is position
        return
    with pytest.raises(BadStep, match=position.value):
        store.now(UnitOfWork.open, wish, now, by)


def test_database_refuses_a_second_active_request_for_one_item(standing: Standing) -> None:
    standing(Position.ON_LOAN, copy="C1")
    with pytest.raises(IntegrityError):
        standing(Position.IN_TRANSIT, copy="C1")


# ---- steps


@pytest.mark.parametrize("step", TABLE, ids=_row_id)
def test_step_moves_the_request_and_sends_its_messages(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows, step: Step
) -> None:
    before = standing(step.source, copy="C1", side=side_of(step.event))
    lines = len(rows(JOURNAL))
    after = store.now(UnitOfWork.advance, before, step.event, now, by, "R13")
    assert store.now(lambda unit: unit.requests.find(before.id)) == after
    assert after.position is step.target
    new = rows(JOURNAL)[lines:]
    assert [(n["event"], n["source"], n["target"], n["rule"]) for n in new] == [
        (step.event.name, step.source, step.target, "R13")
    ]
    assert [row["send"] for row in rows(OUTBOX)] == [send.value for send in step.sends]


@pytest.mark.parametrize("step", [s for s in TABLE if s.sends], ids=_row_id)
def test_message_is_addressed_to_the_partner_or_the_patron(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows, step: Step
) -> None:
    before = standing(step.source, copy="C1", side=side_of(step.event))
    store.now(UnitOfWork.advance, before, step.event, now, by)
    for row in rows(OUTBOX):
        letter = is_letter(Notification(row["send"]))
        assert (row["kind"], row["recipient"]) == (("mail", "P1") if letter else ("ncip", "CUHK"))
        assert isinstance(from_json(row["payload"]), PatronNotice if letter else PartnerMessage)
        assert (row["request"], row["corr"], row["state"]) == (before.id, "c-1", "waiting")


@pytest.mark.parametrize("event", [e for e in Event if e not in {s.event for s in TABLE if s.source is Position.RECEIVED}])
def test_unknown_step_changes_nothing(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows, event: Event
) -> None:
    before = standing(Position.RECEIVED, copy="C1")
    lines = len(rows(JOURNAL))
    with pytest.raises(BadStep):
        store.now(lambda unit: unit.advance(before, event, now, by, due=date(2017, 4, 1)))
    assert store.now(lambda unit: unit.requests.find(before.id)) == before
    assert (len(rows(JOURNAL)), rows(OUTBOX)) == (lines, [])


def test_second_of_two_concurrent_moves_of_a_request_fails(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows
) -> None:
    seen_by_both = standing(Position.RECEIVED, copy="C1")
    first = store.now(UnitOfWork.advance, seen_by_both, Event.CHECK_OUT, now, by)
    told = len(rows(OUTBOX))
    with pytest.raises(BadStep, match="R1: somebody changed it first"):
        store.now(UnitOfWork.advance, seen_by_both, Event.RETURN_UNUSED, now, by)
    assert store.now(lambda unit: unit.requests.find("R1")) == first
    assert len(rows(OUTBOX)) == told


def test_step_that_keeps_the_position_does_not_change_moved_at(
    store: SoleStore, standing: Standing, now: datetime, by: Actor
) -> None:
    later = now + timedelta(days=1)
    loan = standing(Position.ON_LOAN, copy="C1")
    renewed = store.now(lambda unit: unit.advance(loan, Event.RENEW, later, by, due=date(2017, 3, 30), renewals=1))
    returned = store.now(UnitOfWork.advance, renewed, Event.RETURN, later, by)
    assert (renewed.moved_at, renewed.due, renewed.renewals) == (now, date(2017, 3, 30), 1)
    assert returned.moved_at == later


def test_force_sets_any_position_if_given_a_reason_and_sends_no_message(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows
) -> None:
    closed = standing(Position.CLOSED)
    forced = store.now(UnitOfWork.force, closed, Position.TO_RETURN, now, by, "closed by mistake")
    assert forced.position is Position.TO_RETURN
    assert store.now(lambda unit: unit.requests.find(closed.id)) == forced
    line = rows(JOURNAL)[-1]
    assert (line["event"], line["source"], line["target"]) == ("FORCE", "CLOSED", "TO_RETURN")
    assert "closed by mistake" in line["detail"]
    assert rows(OUTBOX) == []


def test_lender_is_asked_for_its_own_item(store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows) -> None:
    request = standing(Position.NEW)
    store.now(
        lambda unit: unit.candidates.add(
            (Candidate(request=request.id, rank=1, agency="CUHK", barcode="C7", local_bib_id="99", wire_id="w-1"),)
        )
    )
    store.now(UnitOfWork.advance, request, Event.ASK, now, by)
    told = from_json(rows(OUTBOX)[0]["payload"])
    assert (told.item, told.local_bib_id, told.wire_id) == (ItemKey("CUHK", "C7"), "99", "w-1")


def test_silent_lender_gets_a_cancellation_and_the_next_lender_the_request(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows
) -> None:
    asked = standing(Position.REQUESTED)
    event = Event.ASK_NEXT_AFTER_SILENCE
    store.now(lambda unit: unit.advance(asked, event, now, by, partner="PolyU", wire_id="w-2"))
    heard = [(row["send"], row["recipient"], from_json(row["payload"]).wire_id) for row in rows(OUTBOX)]
    assert heard == [("cancel_at_lender", "CUHK", "w-1"), ("ask_lender", "PolyU", "w-2")]


# ---- what else a unit writes


def test_candidate_stores_its_outcome(store: SoleStore) -> None:
    first, second = (
        Candidate(request="R1", rank=1, agency="CUHK", barcode="C1"),
        Candidate(request="R1", rank=2, agency="PolyU", barcode="C2"),
    )
    store.now(lambda unit: unit.candidates.add((second, first)))
    store.now(_marked, first)
    assert store.now(lambda unit: unit.candidates.of_request("R1")) == (
        replace(first, wire_id="w-1", outcome="declined"),
        second,
    )


def test_directory_update_overwrites_named_partners_and_keeps_others(store: SoleStore) -> None:
    store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="old"), Partner(agency="PolyU", name="PolyU")]))
    store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="new", work_days=("Mon",))]))
    assert store.now(lambda unit: unit.partners.among(["CUHK", "PolyU", "NOBODY"])) == {
        "CUHK": Partner(agency="CUHK", name="new", work_days=("Mon",)),
        "PolyU": Partner(agency="PolyU", name="PolyU"),
    }


def test_institutional_card_identifies_its_partner(store: SoleStore) -> None:
    cuhk, polyu = Partner(agency="CUHK", name="CUHK", institutional_card="CU-1"), Partner(agency="PolyU", name="PolyU")
    store.now(lambda unit: unit.partners.write([polyu, cuhk]))
    assert store.now(lambda unit: unit.partners.with_card("CU-1")) == cuhk
    assert store.now(lambda unit: unit.partners.with_card("CU-2")) is None
    assert store.now(lambda unit: unit.partners.with_card("")) is None


def test_partner_is_not_found_by_its_previous_card(store: SoleStore) -> None:
    store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="CUHK", institutional_card="CU-1")]))
    store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="CUHK", institutional_card="CU-2")]))
    assert store.now(lambda unit: unit.partners.with_card("CU-1")) is None


def test_latest_item_status_is_returned(store: SoleStore) -> None:
    store.now(loading.write, "holdings", [Holding(agency="CUHK", barcode="C1", bib_id="b1", title="Dune")], 1)
    store.now(lambda unit: unit.holdings.set_status(ItemKey("CUHK", "C1"), "On Loan"))
    found = store.now(lambda unit: unit.holdings.find(ItemKey("CUHK", "C1")))
    assert found == Holding(agency="CUHK", barcode="C1", bib_id="b1", title="Dune", status="On Loan")


# ---- the laws, by the source


def _keywords(names: set[str]) -> Iterator[tuple[str, str]]:
    """(file, function) of every call of these functions with a `position` argument, and of every `_change_to`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if called == "_change_to" or (called in names and any(k.arg == "position" for k in node.keywords)):
                    yield path.relative_to(PACKAGE).as_posix(), called


def test_law_1_only_the_unit_of_work_changes_a_position() -> None:
    changing = {file for file, _ in _keywords({"replace", "values", "update"}) if not file.startswith("rules/")}
    assert changing == {"db/unit_of_work.py"}


@pytest.mark.parametrize("facts", [{"position": Position.CLOSED}, {"source": Position.NEW}])
def test_law_1_step_does_not_accept_a_position_field(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, facts: dict[str, Any]
) -> None:
    loan = standing(Position.ON_LOAN, copy="C1")
    with pytest.raises((TypeError, AttributeError)):
        store.now(lambda unit: unit.advance(loan, Event.RETURN, now, by, **facts))
    with pytest.raises((TypeError, AttributeError)):
        store.now(lambda unit: unit.amend(loan, now, by, **facts))
    assert store.now(lambda unit: unit.requests.find(loan.id)) == loan


def _marked(unit: UnitOfWork, candidate: Candidate) -> None:
    unit.candidates.update(candidate, wire_id="w-1", outcome="declined")
