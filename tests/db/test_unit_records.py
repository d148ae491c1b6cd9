"""Records written beside a request: letters once per occasion, the journal without secrets, the inbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, Table

from hkall_gateway.db import inbox, rounds
from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.db.loads import loading
from hkall_gateway.db.tables import INBOX, JOURNAL, NOTICES, OUTBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.json_records import from_json
from hkall_gateway.rules.messages.letters import LETTERS, silent
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Notices
from hkall_gateway.rules.stored_words import NoticeState
from hkall_gateway.rules.vocabulary import Actor, Borrower, Position, Refusal, Request, Sensitive, Side
from hkall_gateway.simulator.databases import SoleStore

Standing = Callable[..., Request]
Rows = Callable[[Table], list[dict[str, Any]]]


def _wish(**facts: Any) -> Request:
    return replace(Request(id="", side=Side.BORROWING, position=Position.NEW, title="Dune", bib_id="b1", patron="P1"), **facts)


def _fallen_due(unit: UnitOfWork, loan: Request, due: date, now: datetime, by: Actor) -> Request:
    return unit.advance(loan, Event.FALL_DUE, now, by, due=due, overdue_notice_for=due)


# ---- letters


def test_letter_is_stored_once_per_occasion(store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows) -> None:
    loan = standing(Position.ON_LOAN, copy="C1", due=date(2017, 3, 16))
    for due in (date(2017, 3, 16), date(2017, 3, 16), date(2017, 3, 30)):
        loan = store.now(_fallen_due, loan, due, now, by)
    assert [(n["kind"], n["about"]) for n in rows(NOTICES)] == [
        ("letter_overdue", "2017-03-16"),
        ("letter_overdue", "2017-03-30"),
    ]
    assert [from_json(r["payload"]).notice for r in rows(OUTBOX)] == [n["id"] for n in rows(NOTICES)]


@pytest.mark.parametrize("send", LETTERS)
def test_each_letter_is_stored_once_if_its_policy_key_is_on(
    engine: Engine, standing: Standing, now: datetime, by: Actor, rows: Rows, send: Notification
) -> None:
    loan = standing(Position.ON_LOAN, copy="C1")
    for allowed, written in ((False, []), (True, [send]), (True, [send])):
        key: dict[str, Any] = {LETTERS[send].notice: allowed}
        site = SoleStore(engine, partial(UnitOfWork, new_id=str, silent=silent(Notices(**key))))
        site.now(UnitOfWork.enqueue, send, loan, now, by)
        site.close()
        assert [row["send"] for row in rows(OUTBOX)] == [row["kind"] for row in rows(NOTICES)] == written


def test_no_letter_is_stored_without_a_local_patron(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows
) -> None:
    stray = standing(Position.IN_TRANSIT, copy="C1", patron="", kind="stray", unwanted=True)
    store.now(UnitOfWork.advance, stray, Event.ARRIVE, now, by)
    assert [row["send"] for row in rows(OUTBOX)] == ["tell_lender_received"]


def test_letter_outcome_is_stored(store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows) -> None:
    loan = standing(Position.ON_LOAN, copy="C1")
    store.now(UnitOfWork.advance, loan, Event.FALL_DUE, now, by)
    number = rows(NOTICES)[0]["id"]
    store.now(lambda unit: unit.notices.set_state(number, NoticeState.SENT, "", now))
    assert [(n["state"], n["sent_at"]) for n in rows(NOTICES)] == [("sent", now)]


@pytest.mark.parametrize(
    ("state", "letters"), [("not_needed", 2), ("unsure", 2), ("sent", 1), ("queued", 1), ("undeliverable", 1)]
)
def test_letter_that_was_not_proven_to_arrive_may_be_sent_again_for_the_same_occasion(
    store: SoleStore, standing: Standing, now: datetime, by: Actor, rows: Rows, state: str, letters: int
) -> None:
    loan = standing(Position.ON_LOAN, copy="C1", due=date(2017, 3, 16))
    store.now(UnitOfWork.advance, loan, Event.FALL_DUE, now, by)
    number = rows(NOTICES)[0]["id"]
    store.now(lambda unit: unit.notices.set_state(number, NoticeState(state), "", now))
    store.now(UnitOfWork.advance, loan, Event.FALL_DUE, now + timedelta(days=1), by)
    assert len(rows(OUTBOX)) == letters
    assert [n["state"] for n in rows(NOTICES)] == ["queued" if letters == 2 else state]


# ---- the journal


def test_refusal_is_stored_with_its_rule(store: SoleStore, now: datetime, by: Actor, rows: Rows) -> None:
    store.now(UnitOfWork.refuse, Refusal(Reason.QUOTA_HKALL, detail={"limit": 15}), now, by, None, "P1")
    line = rows(JOURNAL)[0]
    assert (line["event"], line["patron"], line["rule"], line["outcome"]) == ("REFUSED", "P1", "R20", "quota_hkall")
    assert from_json(line["detail"]) == {"limit": 15}


def test_journal_letters_and_outbox_contain_no_name_or_address(store: SoleStore, now: datetime, by: Actor, rows: Rows) -> None:
    secrets = ("Chan Tai Man", "陳大文", "tai.man@hku.test", "argon2-hash")
    name, name_zh, email, pin_hash = map(Sensitive, secrets)
    patron = Borrower(barcode="P1", name=name, category="staff", name_zh=name_zh, email=email, pin_hash=pin_hash)
    store.now(loading.write, "patrons", [patron], 1)
    request = store.now(UnitOfWork.open, _wish(item_agency="CUHK", item_barcode="C1"), now, by)
    for event in (Event.ASK, Event.SHIP, Event.ARRIVE, Event.CHECK_OUT, Event.FALL_DUE, Event.RETURN):
        request = store.now(UnitOfWork.advance, request, event, now, by)
    store.now(UnitOfWork.refuse, Refusal(Reason.PATRON_BLOCKED, detail={"who": name, "mail": email}), now, by, request)
    written = repr([rows(table) for table in (JOURNAL, OUTBOX, NOTICES)])
    assert "P1" in written
    assert [secret for secret in secrets if secret in written] == []


def test_commit_listener_gets_only_committed_steps(engine: Engine, now: datetime, by: Actor) -> None:
    heard: list[JournalEntry] = []
    told = SoleStore(engine, lambda c: UnitOfWork(c, lambda: "R1", listen=heard.extend))

    def thrown_away(unit: UnitOfWork) -> None:
        unit.open(_wish(), now, by)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        told.now(thrown_away)
    told.now(UnitOfWork.open, _wish(), now, by)
    told.close()
    assert [(m.request, m.event, m.target, m.patron, m.by) for m in heard] == [("R1", "OPEN", "NEW", "P1", by)]


# ---- the inbox


def test_repeated_document_has_a_stored_reply(store: SoleStore, now: datetime) -> None:
    until = now + timedelta(days=30)
    assert store.now(inbox.find, "CUHK", "d1", now) is None
    store.now(inbox.keep, "CUHK", "d1", "done", until, now)
    assert store.now(inbox.find, "CUHK", "d1", until) == "done"
    assert store.now(inbox.find, "CUHK", "d1", until + timedelta(seconds=1)) is None


def test_stored_reply_is_replaced_in_the_same_transaction(store: SoleStore, now: datetime, rows: Rows) -> None:
    def answer(unit: UnitOfWork, outcome: str) -> str | None:
        inbox.keep(unit, "CUHK", "d1", f"not {outcome}", now, now)
        inbox.keep(unit, "CUHK", "d1", outcome, now, now)
        return inbox.find(unit, "CUHK", "d1", now)

    assert [store.now(answer, outcome) for outcome in ("first", "second")] == ["first", "second"]
    assert [row["outcome"] for row in rows(INBOX)] == ["second"]


def test_same_document_from_another_library_is_a_different_document(store: SoleStore, now: datetime) -> None:
    store.now(inbox.keep, "CUHK", "d1", "done", now, now)
    assert store.now(inbox.find, "PolyU", "d1", now) is None


def test_document_without_a_reply_is_deleted(store: SoleStore, now: datetime, rows: Rows) -> None:
    store.now(inbox.keep, "CUHK", "d1", "done", now, now)
    store.now(inbox.keep, "CUHK", "d1", "", now, now)
    assert rows(INBOX) == []
    assert store.now(inbox.find, "CUHK", "d1", now) is None


def test_stored_replies_are_deleted_after_their_retention_time(store: SoleStore, now: datetime, rows: Rows) -> None:
    store.now(inbox.keep, "CUHK", "short", "done", now + timedelta(minutes=15), now)
    store.now(inbox.keep, "CUHK", "long", "done", now + timedelta(days=30), now)
    assert store.now(rounds.forget_documents, now + timedelta(minutes=15), 10) == 0
    assert store.now(rounds.forget_documents, now + timedelta(minutes=16), 10) == 1
    assert [row["digest"] for row in rows(INBOX)] == ["long"]
