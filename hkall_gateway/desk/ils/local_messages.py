"""Messages for the library's own system in the outbox: changes that it missed, and queries that it did not answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.desk.common.staff_flags import flagged, unflagged
from hkall_gateway.desk.messages.results import DeliveryResult
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.messages.local_messages import LINE, LocalMessage, LocalSend, key_of_copy
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxState, StaffFlag
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.store.outbox import WAITING, OutboxRow
from hkall_gateway.store.unit import Unit

AT_ONCE: Final = timedelta(seconds=60)
"""Longer than any answer is waited for: so long the courier leaves alone what is just being told."""
OVERTAKEN: Final = "overtaken: it was told of what came later"


def tell(unit: Unit, message: LocalMessage, now: datetime, by: Actor) -> int | None:
    """Put a message to the local system into the outbox; return its row if it may be sent at once.

    None: an earlier message about the same copy or card is still unsent, so the courier sends this one later; its request is
    flagged until then. Messages behind a dead letter do not count as earlier. A caller that sends at once reports the outcome
    (`told`, `not_told`, `differs`); if the gateway ends first, the row is retried after a minute as possibly delivered.
    """
    first = next(iter(_rows(unit, message.ordering_key)), None)
    before = first is not None and first.state in WAITING
    unit.outbox.put(LocalSend(message.send), message, by.corr, now)
    if before:
        _flag(unit, message, now, by, told=False)
        return None
    number = _rows(unit, message.ordering_key)[-1].id
    unit.outbox.in_hand(number, now + AT_ONCE)
    return number


def told(unit: Unit, number: int, message: LocalMessage, now: datetime, by: Actor) -> None:
    """It was told at once. What it could not be told of the same copy or card before is overtaken."""
    unit.outbox.sent(number, now)
    _overtake(unit, [row for row in _rows(unit, message.ordering_key) if row.id < number], now, by)


def not_told(unit: Unit, number: int, message: LocalMessage, unsure: bool, now: datetime, by: Actor) -> None:
    """It could not be told at once: as soon as the system is back. The request that it is about is flagged until then.

    `unsure`: it was sent and not answered.
    """
    unit.outbox.let_go(number, now, unsure=unsure)
    _flag(unit, message, now, by, told=False)


def tell_later(unit: Unit, message: LocalMessage, now: datetime, by: Actor) -> None:
    """Tell the local system, or ask it, later; the request that it is about is flagged until it has heard."""
    unit.outbox.put(LocalSend(message.send), message, by.corr, now)
    _flag(unit, message, now, by, told=False)


def differs(unit: Unit, number: int | None, message: LocalMessage, now: datetime, by: Actor) -> None:
    """The local system was told and said no: a person must look. Nothing is told again."""
    if number is not None:
        unit.outbox.close(number, OutboxState.DROPPED, "refused there", now)
    _flag(unit, message, now, by, told=False)


def put_off(unit: Unit, barcode: str, now: datetime) -> bool:
    """The local system is about to be asked about a copy: what waits about it waits on. False if that is under way."""
    waiting = [row.id for row in _rows(unit, key_of_copy(barcode)) if row.state in WAITING]
    return all(unit.outbox.put_off(row, now + AT_ONCE, now) for row in waiting)


def answered_again(unit: Unit, barcode: str, now: datetime, by: Actor) -> None:
    """The local system has done something new with a copy: what waited about it is overtaken."""
    _overtake(unit, _rows(unit, key_of_copy(barcode)), now, by)


def _overtake(unit: Unit, rows: Iterable[OutboxRow], now: datetime, by: Actor) -> None:
    for row in rows:
        if unit.outbox.close(row.id, OutboxState.DONE, OVERTAKEN, now) and isinstance(row.payload, LocalMessage):
            _flag(unit, row.payload, now, by, told=True)


def waits(unit: Unit, barcode: str) -> bool:
    """Whether the local system is still to hear something about a copy, or to say what it did with it."""
    return bool(_rows(unit, key_of_copy(barcode)))


def _rows(unit: Unit, key: str) -> tuple[OutboxRow, ...]:
    return unit.outbox.rows(partner=LINE, request=key)


def answered(unit: Unit, message: LocalMessage, answer: DeliveryResult, now: datetime, by: Actor) -> None:
    """It has been told, or has said no; then, or while more of the same copy waits, its request stays flagged."""
    more = any(row.request == message.request for row in _rows(unit, message.ordering_key))
    _flag(unit, message, now, by, told=answer.kind != DeliveryKind.REFUSED and not more)


def _flag(unit: Unit, message: LocalMessage, now: datetime, by: Actor, *, told: bool) -> None:
    request = unit.request(message.request) if message.request else None
    if request is None or request.position in FINAL:
        return
    flags = unflagged(request, StaffFlag.ILS_NOT_TOLD) if told else flagged(request, StaffFlag.ILS_NOT_TOLD)
    if flags != request.flags:
        unit.amend(request, now, by, flags=flags)
