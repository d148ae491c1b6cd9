"""What the library's own system was not told, or did not answer: put into the outbox, and what its late answer means."""

from __future__ import annotations

from datetime import datetime

from hkall_gateway.desk.common.staff_flags import flagged, unflagged
from hkall_gateway.desk.messages.results import Answer
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.local_messages import CHECKS, LINE, NOT_TOLD, LocalMessage, LocalSend, key_of_copy
from hkall_gateway.rules.vocabulary import By
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Unit


def tell_later(unit: Unit, message: LocalMessage, now: datetime, by: By) -> None:
    """Tell the local system later; the request that it is about is flagged until it has heard."""
    unit.outbox.put(LocalSend(message.send), message, by.corr, now)
    _flag(unit, message, now, by, told=False)


def differs(unit: Unit, message: LocalMessage, now: datetime, by: By) -> None:
    """The local system was told and said no: a person must look. Nothing is told again."""
    _flag(unit, message, now, by, told=False)


def answered_again(unit: Unit, barcode: str, now: datetime, by: By) -> None:
    """The local system has answered a new question about a copy: what it did with an earlier one needs no looking up."""
    for row in _checks(unit, barcode):
        unit.outbox.close(row.id, "done", f"asked again and answered, by {by.who}", now)


def waits(unit: Unit, barcode: str) -> bool:
    """Whether it is still to be found out what the local system did with a copy."""
    return bool(_checks(unit, barcode))


def _checks(unit: Unit, barcode: str) -> list[OutboxRow]:
    return [row for row in unit.outbox.rows(partner=LINE, request=key_of_copy(barcode)) if row.send in CHECKS]


def answered(unit: Unit, message: LocalMessage, answer: Answer, now: datetime, by: By) -> None:
    """It has been told, or has said no; then the request that it is about stays flagged."""
    _flag(unit, message, now, by, told=answer.kind != "refused")


def _flag(unit: Unit, message: LocalMessage, now: datetime, by: By, *, told: bool) -> None:
    request = unit.request(message.request) if message.request else None
    if request is None or request.position in FINAL:
        return
    flags = unflagged(request, NOT_TOLD) if told else flagged(request, NOT_TOLD)
    if flags != request.flags:
        unit.amend(request, now, by, flags=flags)
