"""Messages for the library's own system in the outbox: changes that it missed, and queries that it did not answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.desk.common.staff_flags import flagged, unflagged
from hkall_gateway.desk.messages.results import DeliveryResult
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.messages.local_messages import ILS_RECIPIENT, LocalMessage, LocalSend, key_of_copy
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxState, StaffFlag
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.store.outbox import WAITING, OutboxRow
from hkall_gateway.store.unit import Unit

INLINE_TIME: Final = timedelta(seconds=60)
"""The courier leaves a row alone for this time while its caller delivers it; longer than any wait for an answer."""
SUPERSEDED: Final = "overtaken: it was told of what came later"


def enqueue(unit: Unit, message: LocalMessage, now: datetime, by: Actor) -> int | None:
    """Put a message to the local system into the outbox; return its row if it may be sent at once.

    None: an earlier message about the same copy or card is still unsent, so the courier sends this one later; its request is
    flagged until then. Messages behind a dead letter do not count as earlier. A caller that sends at once reports the outcome
    (`mark_delivered`, `mark_undelivered`, `mark_refused`); if the gateway ends first, the row is retried after a minute as
    possibly delivered.
    """
    first = next(iter(_rows(unit, message.ordering_key)), None)
    before = first is not None and first.state in WAITING
    unit.outbox.put(LocalSend(message.send), message, by.corr, now)
    if before:
        _flag(unit, message, now, by, delivered=False)
        return None
    number = _rows(unit, message.ordering_key)[-1].id
    unit.outbox.claim_inline(number, now + INLINE_TIME)
    return number


def mark_delivered(unit: Unit, number: int, message: LocalMessage, now: datetime, by: Actor) -> None:
    """Mark an immediate delivery as sent, and supersede earlier unsent messages about the same copy or card."""
    unit.outbox.sent(number, now)
    _supersede(unit, [row for row in _rows(unit, message.ordering_key) if row.id < number], now, by)


def mark_undelivered(unit: Unit, number: int, message: LocalMessage, unsure: bool, now: datetime, by: Actor) -> None:
    """Leave a message to the courier after an immediate delivery failed, and flag its request until it is delivered.

    `unsure`: it was sent and not answered.
    """
    unit.outbox.release_inline(number, now, unsure=unsure)
    _flag(unit, message, now, by, delivered=False)


def enqueue_later(unit: Unit, message: LocalMessage, now: datetime, by: Actor) -> None:
    """Queue a message for later delivery by the courier, and flag its request until it is delivered."""
    unit.outbox.put(LocalSend(message.send), message, by.corr, now)
    _flag(unit, message, now, by, delivered=False)


def mark_refused(unit: Unit, number: int | None, message: LocalMessage, now: datetime, by: Actor) -> None:
    """Close a message that the local system refused, and flag its request for staff. It is not retried."""
    if number is not None:
        unit.outbox.close(number, OutboxState.DROPPED, "refused there", now)
    _flag(unit, message, now, by, delivered=False)


def defer(unit: Unit, barcode: str, now: datetime) -> bool:
    """Defer the unsent messages about a copy that is about to be looked up there. False if one is being delivered now."""
    waiting = [row.id for row in _rows(unit, key_of_copy(barcode)) if row.state in WAITING]
    return all(unit.outbox.defer(row, now + INLINE_TIME, now) for row in waiting)


def supersede(unit: Unit, barcode: str, now: datetime, by: Actor) -> None:
    """Supersede the unsent messages about a copy after a newer transaction in the local system."""
    _supersede(unit, _rows(unit, key_of_copy(barcode)), now, by)


def _supersede(unit: Unit, rows: Iterable[OutboxRow], now: datetime, by: Actor) -> None:
    for row in rows:
        if unit.outbox.close(row.id, OutboxState.DONE, SUPERSEDED, now) and isinstance(row.payload, LocalMessage):
            _flag(unit, row.payload, now, by, delivered=True)


def has_unsent(unit: Unit, barcode: str) -> bool:
    """Return whether messages or queries about a copy are unsent."""
    return bool(_rows(unit, key_of_copy(barcode)))


def _rows(unit: Unit, key: str) -> tuple[OutboxRow, ...]:
    return unit.outbox.rows(partner=ILS_RECIPIENT, request=key)


def apply_answer(unit: Unit, message: LocalMessage, answer: DeliveryResult, now: datetime, by: Actor) -> None:
    """Clear the flag of the request after a delivery; it stays after a refusal, or while more about the request is unsent."""
    more = any(row.request == message.request for row in _rows(unit, message.ordering_key))
    _flag(unit, message, now, by, delivered=answer.kind != DeliveryKind.REFUSED and not more)


def _flag(unit: Unit, message: LocalMessage, now: datetime, by: Actor, *, delivered: bool) -> None:
    request = unit.request(message.request) if message.request else None
    if request is None or request.position in FINAL:
        return
    flags = unflagged(request, StaffFlag.ILS_NOT_TOLD) if delivered else flagged(request, StaffFlag.ILS_NOT_TOLD)
    if flags != request.flags:
        unit.amend(request, now, by, flags=flags)
