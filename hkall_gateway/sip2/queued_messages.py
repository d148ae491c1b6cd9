"""Delivers queued messages to the local system after an outage, and checks the outcome of messages without a reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from math import ceil
from typing import Final

from hkall_gateway.circulation.partners.local_messages import LATE_EXECUTION
from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, LocalSend
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxState
from hkall_gateway.sip2.client import HungUp, Unanswered, UpstreamInterface, encode_body
from hkall_gateway.sip2.codec.fields import date18
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, decode
from hkall_gateway.sip2.handlers.items import NO_COPY, OUT

BLANK: Final = " " * 18
CHARGED: Final = "  Y       "
"""The summary of a 63 that requests the list of charged items."""
WHOLE: Final = "9999"
"""A value for "end item" (BQ) that exceeds the length of any list."""
DONE: Final = DeliveryResult(kind=DeliveryKind.ACCEPTED)
NOT_YET: Final = DeliveryResult(kind=DeliveryKind.LATER, problem="not done yet", retry_after_s=60)
UNDONE_WITHIN: Final = timedelta(seconds=15)
"""How long after an unanswered checkout a loan in the local system is attributed to that checkout.

A loan that is found later may have been made at the local system's own desk. The first look-up follows the checkout at once.
"""


class QueuedMessages:
    """Delivers outbox rows to the local system over `line`, logged in as the gateway.

    `zone` is the library's time zone. `late` is how long after an unanswered message the system may still carry it out.
    """

    def __init__(
        self,
        line: UpstreamInterface,
        institution: str,
        now: Callable[[], datetime],
        zone: tzinfo,
        late: timedelta = LATE_EXECUTION,
    ) -> None:
        self._line, self._institution, self._now, self._zone, self._late = line, institution, now, zone, late

    async def __call__(self, row: OutboxRow) -> DeliveryResult:
        """Deliver one outbox row and return the result."""
        assert isinstance(row.payload, LocalMessage)
        try:
            return await DELIVERIES[LocalSend(row.payload.send)](self, row.payload, row)
        except (HungUp, Unanswered) as lost:
            # Only after this time is it certain whether the message was carried out.
            return DeliveryResult(kind=DeliveryKind.UNKNOWN, detail=str(lost), retry_after_s=ceil(self._late.total_seconds()))
        except Unreachable as away:
            return DeliveryResult(kind=DeliveryKind.UNREACHABLE, detail=str(away))
        except BadMessage as bad:
            detail = f"its reply cannot be used: {bad.why}"
            return DeliveryResult(kind=DeliveryKind.UNKNOWN, detail=detail, retry_after_s=ceil(self._late.total_seconds()))

    async def _deliver_block(self, message: LocalMessage, _row: OutboxRow) -> DeliveryResult:
        retained = {"card_retained": "Y" if message.retained else "N"}
        return _result_for_card(
            await self._exchange_message("01", message.at, {**retained, "AL": message.text, "AA": message.patron, "AC": ""})
        )

    async def _deliver_enable(self, message: LocalMessage, _row: OutboxRow) -> DeliveryResult:
        return _result_for_card(await self._exchange_message("25", message.at, {"AA": message.patron, "AC": ""}))

    async def _deliver_loan(self, message: LocalMessage, row: OutboxRow) -> DeliveryResult:
        if _may_have_arrived(row):
            if self._may_still_execute(row):
                return NOT_YET
            if await self._is_lent_already(message):
                return DONE
        flags = {"sc_renewal_policy": "N", "no_block": "Y", "nb_due_date": BLANK}
        reply = await self._exchange_message("11", message.at, {**flags, "AA": message.patron, "AB": message.barcode, "AC": ""})
        done = reply.get("ok") == "1" or await _result_or_false(self._is_lent_already(message))
        return DONE if done else DeliveryResult(kind=DeliveryKind.REFUSED, problem="not lent there")

    async def _deliver_return(self, message: LocalMessage, row: OutboxRow) -> DeliveryResult:
        if _may_have_arrived(row):
            if self._may_still_execute(row):
                return NOT_YET
            if await self._is_not_on_loan(message.barcode):
                return DONE
        return await self._check_in(message)

    async def _check_in(self, message: LocalMessage, **more: str) -> DeliveryResult:
        when = {"no_block": "Y", "return_date": date18(message.at, self._zone)}
        reply = await self._exchange_message("09", message.at, {**when, "AP": "", "AB": message.barcode, "AC": "", **more})
        done = reply.get("ok") == "1" or await _result_or_false(self._is_not_on_loan(message.barcode))
        return DONE if done else DeliveryResult(kind=DeliveryKind.REFUSED, problem="not taken back there")

    async def _is_lent_already(self, message: LocalMessage) -> bool:
        """Check whether the item is already lent to this card, since an answer was lost or staff entered the loan by hand."""
        item = await self._query_item(message.barcode)
        return item.get("circulation_status") in OUT and await self._is_lent_to(message.patron, item) is True

    async def _is_not_on_loan(self, barcode: str) -> bool:
        """Check that the local system knows the item and does not have it on loan."""
        return (await self._query_item(barcode)).get("circulation_status") not in OUT | NO_COPY

    def _query_item(self, barcode: str) -> Awaitable[Sip2Message]:
        return self._exchange_message("17", self._now(), {"AB": barcode, "AC": ""})

    async def _is_lent_to(self, patron: str, item: Sip2Message) -> bool | None:
        """Check whether an item is among a card's loans. Return None if the list of loans is incomplete or has only titles."""
        fields = {"language": "000", "summary": CHARGED, "AA": patron, "AC": "", "BP": "1", "BQ": WHOLE}
        record = await self._exchange_message("63", self._now(), fields)
        lines, count = record.all("AU"), record.get("charged_items_count").strip()
        if any(line.split(" ")[0] == item.get("AB").strip() for line in lines):
            return True
        title = item.get("AJ").strip()
        named = bool(title) and any(title in line for line in lines)
        return False if count.isdecimal() and int(count) == len(lines) and not named else None

    async def _check_loan(self, message: LocalMessage, row: OutboxRow) -> DeliveryResult:
        """Find out whether an unanswered checkout became a loan.

        The terminal showed a refusal, so the loan is undone or referred to staff. It is undone only if the item was on the
        shelf just before the checkout, and cannot have been lent in another way since.
        """
        item = await self._query_item(message.barcode)
        if item.get("circulation_status") not in OUT:
            return self._result_if_not_done(row)
        is_lent_to_patron = await self._is_lent_to(message.patron, item)
        if is_lent_to_patron is False:  # it is on loan to another patron, who may return it soon
            return self._result_if_not_done(row)
        if is_lent_to_patron and message.was_in and self._now() - row.made_at <= UNDONE_WITHIN:
            return await self._check_in(message, BI="Y")
        if self._may_still_execute(row):
            # The loan may be older than the checkout. Were it settled now, nobody would look once the checkout is carried out.
            return NOT_YET
        return DeliveryResult(
            kind=DeliveryKind.REFUSED,
            problem="on loan there",
            detail="the terminal was told no: take it back there, or leave it with the reader",
        )

    async def _check_return(self, message: LocalMessage, row: OutboxRow) -> DeliveryResult:
        """Find out whether an unanswered return was executed. The patron saw a refusal and may have kept the item."""
        if self._may_still_execute(row) or not await self._is_not_on_loan(message.barcode):
            return self._result_if_not_done(row)
        return DeliveryResult(
            kind=DeliveryKind.REFUSED,
            problem="returned there",
            detail="the terminal was told no: shelve it, or lend it to its reader again",
        )

    def _result_if_not_done(self, row: OutboxRow) -> DeliveryResult:
        """Return NOT_YET within the first minute, so that the message is checked again, and DONE afterwards."""
        return NOT_YET if self._may_still_execute(row) else DONE

    def _may_still_execute(self, row: OutboxRow) -> bool:
        """Check whether a message that was sent when its row was made may still be carried out."""
        return self._now() - row.made_at < self._late

    async def _check_copy(self, message: LocalMessage, _row: OutboxRow) -> DeliveryResult:
        """Find out whether an unanswered message was carried out after a later one that was answered."""
        item = await self._query_item(message.barcode)
        is_on_loan = item.get("circulation_status") in OUT
        if not message.patron:
            if not is_on_loan:
                return DONE
            return DeliveryResult(
                kind=DeliveryKind.REFUSED,
                problem="lent again there",
                detail="an unanswered checkout was carried out after the return: return it there",
            )
        if is_on_loan and await self._is_lent_to(message.patron, item) is True:
            return DONE
        return DeliveryResult(
            kind=DeliveryKind.REFUSED,
            problem="not lent there",
            detail="an unanswered message was carried out after the checkout: lend it there",
        )

    async def _check_payment(self, message: LocalMessage, row: OutboxRow) -> DeliveryResult:
        """Refer a payment to staff, since SIP2 has no query for payments.

        Wait a minute first, so that staff do not look before the local system has recorded the payment.
        """
        if self._may_still_execute(row):
            return replace(NOT_YET, untold=True)
        named = " ".join(filter(None, (message.terminal, message.transaction, f"{message.amount}: look it up there")))
        return DeliveryResult(kind=DeliveryKind.REFUSED, problem="a payment without an answer", detail=named, untold=True)

    async def _exchange_message(self, code: str, at: datetime, fields: Mapping[str, Value]) -> Sip2Message:
        common = {"transaction_date": date18(at, self._zone), "AO": self._institution}
        body = encode_body(Sip2Message(code, {**common, **fields}), self._line.dialect)
        return decode(await self._line(body), self._line.dialect)


async def _result_or_false(look: Awaitable[bool]) -> bool:
    """Return the result of a query after a refusal, or False if the query fails, so that the refusal stands."""
    try:
        return await look
    except (Unreachable, BadMessage):
        return False


def _may_have_arrived(row: OutboxRow) -> bool:
    return row.state == OutboxState.UNSURE


def _result_for_card(reply: Sip2Message) -> DeliveryResult:
    return DeliveryResult(kind=DeliveryKind.REFUSED, problem="no such card there") if reply.get("BL") == "N" else DONE


# fmt: off
DELIVERIES: Final[Mapping[LocalSend, Callable[[QueuedMessages, LocalMessage, OutboxRow], Awaitable[DeliveryResult]]]] = {
    LocalSend.TELL_ILS_BLOCKED:  QueuedMessages._deliver_block,
    LocalSend.TELL_ILS_ENABLED:  QueuedMessages._deliver_enable,
    LocalSend.TELL_ILS_LENT:     QueuedMessages._deliver_loan,
    LocalSend.TELL_ILS_BACK:     QueuedMessages._deliver_return,
    LocalSend.CHECK_ILS_LOAN:    QueuedMessages._check_loan,
    LocalSend.CHECK_ILS_RETURN:  QueuedMessages._check_return,
    LocalSend.CHECK_ILS_PAYMENT: QueuedMessages._check_payment,
    LocalSend.CHECK_ILS_COPY:    QueuedMessages._check_copy,
}
"""The method that delivers each kind of message."""
# fmt: on
