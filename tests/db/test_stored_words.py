"""Stored enums keep their values, are read as enums on both databases, and tolerate a value of a newer release."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import Table, update

from hkall_gateway.db import quarantine
from hkall_gateway.db.outbox import Attempt
from hkall_gateway.db.tables import ATTEMPTS, JOURNAL, NOTICES, OUTBOX, QUARANTINE, REQUESTS
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.json_records import to_json
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.stored_words import (
    CandidateOutcome,
    DeliveryKind,
    NoticeState,
    OutboxKind,
    OutboxState,
    QuarantineState,
    RenewalSync,
    StaffFlag,
    StaffRole,
    StoredWord,
)
from hkall_gateway.rules.vocabulary import Actor, Position, Request
from hkall_gateway.simulator.databases import SoleStore

VALUES: dict[type[StoredWord], str] = {
    RenewalSync: "none pending denied",
    DeliveryKind: "accepted already refused later fault unreachable unknown undeliverable not_needed",
    OutboxKind: "ncip mail ils",
    OutboxState: "waiting unsure dead sent done dropped",
    NoticeState: "queued sent unsure undeliverable not_needed dropped",
    QuarantineState: "kept replayed dropped",
    CandidateOutcome: "accepted declined refused",
    StaffFlag: "local_check:unknown quota_check:unknown ils:away ils:not_told HKALL_IN_BOOKDROP no_price:lost no_price:damaged "
    "owner_unknown look_on_our_shelf declined_after_shipment contradicted far_date another_book",
}
"""The values in databases of earlier releases."""

NEWER = "of_a_newer_release"


@pytest.mark.parametrize("words", VALUES, ids=lambda words: words.__name__)
def test_stored_values_are_unchanged_since_earlier_releases(words: type[StoredWord]) -> None:
    assert " ".join(words) == VALUES[words]


@pytest.mark.parametrize("words", StoredWord.__subclasses__(), ids=lambda words: words.__name__)
def test_value_of_a_newer_release_is_kept_and_equals_no_enum_member(words: type[StoredWord]) -> None:
    word = words(NEWER)
    assert (word, word.value, f"{word}", word in set(words)) == (NEWER, NEWER, NEWER, False)
    assert to_json({"word": word}) == '{"word":"of_a_newer_release"}'
    with pytest.raises(ValueError, match="3 is not a valid"):
        words(3)  # type: ignore[arg-type]  # what no column holds


def test_every_stored_enum_has_a_row() -> None:
    assert set(StoredWord.__subclasses__()) == set(VALUES)


def test_role_is_configured_by_its_name_in_lower_case() -> None:
    assert [role.word for role in StaffRole] == ["viewer", "clerk", "supervisor", "sysadmin"]
    assert [StaffRole.of(role.word) for role in StaffRole] == list(StaffRole)


@pytest.fixture
def loan(standing: Callable[..., Request]) -> Request:
    return standing(Position.ON_LOAN, "C1")


def _sync(store: SoleStore, request: Request) -> RenewalSync:
    found: Request | None = store.now(lambda unit: unit.requests.find(request.id))
    assert found is not None
    return found.renewal_sync


def _states(store: SoleStore) -> tuple[NoticeState, QuarantineState]:
    letter, document = store.now(lambda unit: unit.notices.find(1)), store.now(quarantine.one, 1)
    assert letter is not None
    assert document is not None
    return letter.state, document.state


def _over(store: SoleStore, table: Table, **words: str) -> None:
    """Store these values in every row, like a newer release would."""
    store.now(lambda unit: unit.execute(update(table).values(**words)))


def test_renewal_sync_is_stored_as_plain_text_in_column_and_journal(
    store: SoleStore, loan: Request, now: datetime, by: Actor, rows: Callable[[Table], list[dict[str, object]]]
) -> None:
    store.now(lambda unit: unit.advance(loan, Event.RENEW_PENDING, now, by, renewal_sync=RenewalSync.PENDING))
    assert _sync(store, loan) is RenewalSync.PENDING
    assert [row["renewal_sync"] for row in rows(REQUESTS)] == ["pending"]
    assert '"renewal_sync":"pending"' in str(rows(JOURNAL)[-1]["detail"])

    _over(store, REQUESTS, renewal_sync=NEWER)
    assert _sync(store, loan) == NEWER
    _over(store, REQUESTS, renewal_sync="")  # the default of the column
    assert _sync(store, loan) == ""


def test_outbox_rows_are_read_with_their_enums(store: SoleStore, loan: Request, now: datetime) -> None:
    message = PartnerMessage(
        send=Notification.ASK_LENDER.value, request=loan.id, partner="CUHK", wire_agency="HKU", wire_id="w-1", at=now
    )
    store.now(lambda unit: unit.outbox.put(Notification.ASK_LENDER, message, "c-1", now))
    store.now(lambda unit: unit.outbox.record_attempt(1, Attempt(at=now, kind=DeliveryKind.LATER, problem="", detail="")))
    store.now(lambda unit: unit.outbox.retry_later(1, now, "busy", unsure=True))
    row = store.now(lambda unit: unit.outbox.row(1))
    assert row is not None
    assert (row.kind, row.state) == (OutboxKind.NCIP, OutboxState.UNSURE)
    assert isinstance(row.state, OutboxState)
    assert store.now(lambda unit: unit.outbox.row_state(1)) == (OutboxState.UNSURE, 1)
    assert [one.kind is DeliveryKind.LATER for one in store.now(lambda unit: unit.outbox.attempts(1))] == [True]
    ((line, state, count, _),) = store.now(lambda unit: unit.outbox.depths())
    assert (line, state is OutboxState.UNSURE, count) == ("CUHK", True, 1)

    _over(store, ATTEMPTS, kind=NEWER)
    assert [one.kind for one in store.now(lambda unit: unit.outbox.attempts(1))] == [NEWER]
    _over(store, OUTBOX, state=NEWER, kind=NEWER)
    row = store.now(lambda unit: unit.outbox.row(1))
    assert row is not None
    assert (row.kind, row.state) == (NEWER, NEWER)


def test_letters_and_quarantined_documents_are_read_with_their_enums(
    store: SoleStore, loan: Request, now: datetime, by: Actor
) -> None:
    store.now(lambda unit: unit.enqueue(Notification.LETTER_RECALLED, loan, now, by))
    store.now(lambda unit: quarantine.keep(unit, "CUHK", "d1", "ItemShipped", "<x/>", "unknown_request", now))
    assert _states(store) == (NoticeState.QUEUED, QuarantineState.KEPT)
    assert [one.state for one in store.now(quarantine.listed)] == [QuarantineState.KEPT]

    _over(store, NOTICES, state=NEWER)
    _over(store, QUARANTINE, state=NEWER)
    assert _states(store) == (NEWER, NEWER)
