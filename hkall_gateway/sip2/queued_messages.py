"""Delivers queued messages to the local system after an outage, and checks the outcome of messages without a reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, tzinfo
from typing import Final

from hkall_gateway.desk.messages.results import DeliveryResult
from hkall_gateway.desk.ports import Unreachable
from hkall_gateway.rules.messages.local_messages import LocalMessage, LocalSend
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxState
from hkall_gateway.sip2.codec.fields import date18
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, decode
from hkall_gateway.sip2.handlers.items import NO_COPY, OUT
from hkall_gateway.sip2.upstream.client import HungUp, Unanswered, UpstreamInterface, written
from hkall_gateway.store.outbox import OutboxRow

BLANK: Final = " " * 18
CHARGED: Final = "  Y       "
"""The summary of a 63 that asks for a card's loans."""
DONE: Final = DeliveryResult(DeliveryKind.ACCEPTED)


class QueuedMessages:
    """A carrier of the courier. `line` is a connection to the local system, logged in as the gateway; `zone` is local time.

    `undoes`: a checkout that it did without an answer is taken back (09 with BI), and not only shown to staff.
    """

    def __init__(
        self, line: UpstreamInterface, institution: str, now: Callable[[], datetime], zone: tzinfo, *, undoes: bool = False
    ) -> None:
        self._line, self._institution, self._now, self._zone, self._undoes = line, institution, now, zone, undoes

    async def __call__(self, row: OutboxRow) -> DeliveryResult:
        """How it went; see `DeliveryResult`."""
        assert isinstance(row.payload, LocalMessage)
        try:
            return await DELIVERIES[LocalSend(row.payload.send)](self, row.payload, row.state == OutboxState.UNSURE)
        except (HungUp, Unanswered) as lost:
            return DeliveryResult(DeliveryKind.UNKNOWN, detail=str(lost))
        except Unreachable as away:
            return DeliveryResult(DeliveryKind.UNREACHABLE, detail=str(away))
        except BadMessage as bad:
            return DeliveryResult(DeliveryKind.UNKNOWN, detail=f"its reply cannot be used: {bad.why}")

    async def _blocked(self, told: LocalMessage, _unsure: bool) -> DeliveryResult:
        retained = {"card_retained": "Y" if told.retained else "N"}
        return _known(await self._said("01", told.at, {**retained, "AL": told.text, "AA": told.patron, "AC": ""}))

    async def _enabled(self, told: LocalMessage, _unsure: bool) -> DeliveryResult:
        return _known(await self._said("25", told.at, {"AA": told.patron, "AC": ""}))

    async def _lent(self, told: LocalMessage, unsure: bool) -> DeliveryResult:
        if unsure and await self._has(told):
            return DONE
        flags = {"sc_renewal_policy": "N", "no_block": "Y", "nb_due_date": BLANK}
        said = await self._said("11", told.at, {**flags, "AA": told.patron, "AB": told.barcode, "AC": ""})
        done = said.get("ok") == "1" or await _if_it_says(self._has(told))
        return DONE if done else DeliveryResult(DeliveryKind.REFUSED, "not lent there")

    async def _back(self, told: LocalMessage, unsure: bool) -> DeliveryResult:
        if unsure and await self._is_in(told.barcode):
            return DONE
        return await self._taken_back(told)

    async def _taken_back(self, told: LocalMessage, **more: str) -> DeliveryResult:
        when = {"no_block": "Y", "return_date": date18(told.at, self._zone)}
        said = await self._said("09", told.at, {**when, "AP": "", "AB": told.barcode, "AC": "", **more})
        done = said.get("ok") == "1" or await _if_it_says(self._is_in(told.barcode))
        return DONE if done else DeliveryResult(DeliveryKind.REFUSED, "not taken back there")

    async def _has(self, told: LocalMessage) -> bool:
        """Whether the copy is lent to this card already: an answer was lost, or staff did it by hand."""
        return await self._status(told.barcode) in OUT and told.barcode in await self._loans(told.patron)

    async def _is_in(self, barcode: str) -> bool:
        """Whether the copy is known there and not on loan."""
        return await self._status(barcode) not in OUT | NO_COPY

    async def _status(self, barcode: str) -> str:
        item = await self._said("17", self._now(), {"AB": barcode, "AC": ""})
        return item.get("circulation_status")

    async def _loans(self, patron: str) -> list[str]:
        """The barcodes that a card has; none where the system does not list them."""
        record = await self._said("63", self._now(), {"language": "000", "summary": CHARGED, "AA": patron, "AC": ""})
        return [line.split(" ")[0] for line in record.all("AU")]

    async def _loan(self, asked: LocalMessage, _unsure: bool) -> DeliveryResult:
        """Whether a checkout without an answer is a loan now. The terminal showed a refusal: undo it, or leave it to staff."""
        if await self._status(asked.barcode) not in OUT:
            return DONE
        has = await self._loans(asked.patron)
        if has and asked.barcode not in has:
            return DONE  # it is on loan to another patron
        if self._undoes and has:
            return await self._taken_back(asked, BI="Y")
        return DeliveryResult(
            DeliveryKind.REFUSED, "on loan there", "the terminal was told no: take it back there, or leave it with the reader"
        )

    async def _payment(self, asked: LocalMessage, _unsure: bool) -> DeliveryResult:
        """Returns a refusal for staff: SIP2 has no query for a payment."""
        return DeliveryResult(
            DeliveryKind.REFUSED, "a payment without an answer", f"{asked.amount}: look it up there", untold=True
        )

    async def _said(self, code: str, at: datetime, fields: Mapping[str, Value]) -> Sip2Message:
        common = {"transaction_date": date18(at, self._zone), "AO": self._institution}
        body = written(Sip2Message(code, {**common, **fields}), self._line.dialect)
        return decode(await self._line(body), self._line.dialect)


async def _if_it_says(look: Awaitable[bool]) -> bool:
    """Returns the result of a query that follows a refusal; False, so that the refusal counts, if the query fails."""
    try:
        return await look
    except (Unreachable, BadMessage):
        return False


def _known(reply: Sip2Message) -> DeliveryResult:
    return DeliveryResult(DeliveryKind.REFUSED, "no such card there") if reply.get("BL") == "N" else DONE


# fmt: off
DELIVERIES: Final[Mapping[LocalSend, Callable[[QueuedMessages, LocalMessage, bool], Awaitable[DeliveryResult]]]] = {
    LocalSend.TELL_ILS_BLOCKED:  QueuedMessages._blocked,
    LocalSend.TELL_ILS_ENABLED:  QueuedMessages._enabled,
    LocalSend.TELL_ILS_LENT:     QueuedMessages._lent,
    LocalSend.TELL_ILS_BACK:     QueuedMessages._back,
    LocalSend.CHECK_ILS_LOAN:    QueuedMessages._loan,
    LocalSend.CHECK_ILS_PAYMENT: QueuedMessages._payment,
}
"""The handler of each message; its last argument says whether the message may have been received already."""
# fmt: on
