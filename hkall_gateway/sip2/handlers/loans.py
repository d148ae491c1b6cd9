"""Checkout, check-in and renewal at a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from hkall_gateway.circulation.loans import CheckOut, Renew, RenewAll
from hkall_gateway.circulation.queries import ItemSeen, PatronSeen, SeeItem, SeePatron
from hkall_gateway.circulation.results import CheckedOut, Refused, Renewed
from hkall_gateway.circulation.returning import Arrival, CheckedIn, CheckIn
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.sip2.codec.lines import Value
from hkall_gateway.sip2.exchange import Exchange, Reply, dollars, refuse, refuse_by, reply, unless_away
from hkall_gateway.sip2.screen_messages import Notice, notice_text, say


@dataclass(frozen=True, slots=True, kw_only=True)
class SortBin:
    """Screen message, alert type and sort bin for a returned item. If `bin` is "", the item's destination is the sort bin."""

    notice: Notice
    alert: str
    bin: str = ""


# fmt: off
SORT_BINS: Final[Mapping[str, SortBin]] = {
    "received": SortBin(notice=Notice.RECEIVED,   alert="01", bin="hold"),
    "held":     SortBin(notice=Notice.AGAIN_HELD, alert="01", bin="hold"),
    "again":    SortBin(notice=Notice.AGAIN,      alert="04"),
    "unwanted": SortBin(notice=Notice.UNWANTED,   alert="04"),
    "uncollected": SortBin(notice=Notice.UNCOLLECTED, alert="04"),
    "returned": SortBin(notice=Notice.RETURNED,   alert="04"),
    "late":     SortBin(notice=Notice.RETURNED_LATE, alert="04"),
    "paged":    SortBin(notice=Notice.PAGED,      alert="04"),
    "home":     SortBin(notice=Notice.HOME,       alert="00", bin="shelf"),
}
"""Routing by the result of a check-in. Alert types: 01 hold here, 04 send to another library. Source: 3M's extension."""
# fmt: on


async def check_out(exchange: Exchange) -> Reply:
    """Answer a Checkout (11) with a 12. BI (cancel) means that a check-in failed at the terminal: the item stays on loan."""
    message = exchange.message
    if not (message.get("AA") and message.get("AB")):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if exchange.is_set("BI"):
        return await _undo_checkin(exchange)
    if exchange.pin_missing and not exchange.no_block:
        return refuse_by(exchange, Reason.WRONG_PIN)
    out = await exchange.services.circulation.execute(_checkout_command(exchange))
    if not isinstance(out, CheckedOut):
        return refuse(exchange, out, **_fee_fields(exchange, out))
    # AF does not repeat other fields, because many terminals pause at every screen message.
    language, had_before = exchange.language(out.language), out.again or out.renewed
    texts = [notice_text(Notice.RENEWED if out.renewed else Notice.LENT_ALREADY, language, due=out.due)] if had_before else []
    texts += [notice_text(Notice.RECALLED, language)] if out.recalled else []
    texts += [notice_text(Notice.OFFLINE_CONFLICT, language)] if out.conflict else []
    return _loan_reply(exchange, out.title, out.due, texts, had_before=had_before, request=out.request)


def _checkout_command(exchange: Exchange, *, undo: bool = False) -> CheckOut:
    shown_due = exchange.instant("nb_due_date") if exchange.no_block else None  # the field is valid only off line
    return CheckOut(
        by=exchange.by,
        place=exchange.place,
        card=exchange.message.get("AA"),
        barcode=exchange.message.get("AB"),
        pin=exchange.pin,
        pin_given=bool(exchange.pin),
        no_block=exchange.no_block,
        renewal_allowed=exchange.is_set("sc_renewal_policy"),
        fee_acknowledged=exchange.is_set("BO"),
        happened_at=exchange.offline_instant("transaction_date"),
        due_told=civil(shown_due) if shown_due else None,
        undo=undo,
    )


def _fee_fields(exchange: Exchange, refusal: Refused) -> dict[str, Value]:
    """Return type (04, overdue), currency and amount if a fee must be acknowledged. Source: SIP2 2.00, fee acknowledged."""
    if refusal.why is not Reason.FEE_NOT_ACKNOWLEDGED:
        return {}
    return {"BT": "04", "BH": exchange.session.dialect.currency, "BV": str(refusal.detail.get("fee", ""))}


def _loan_reply(
    exchange: Exchange, title: str, due: date | None, texts: Sequence[str], *, had_before: bool, request: str
) -> Reply:
    """Build a positive 12 or 30. `had_before` is set if the patron already had the item on loan."""
    fields: dict[str, Value] = {
        "ok": "1",
        "renewal_ok": "Y" if had_before else "N",
        "desensitize": "Y",
        "AJ": title,
        "AH": exchange.due(due),
        "AF": tuple(texts),
    }
    return reply(exchange, fields, request=request)


async def _undo_checkin(exchange: Exchange) -> Reply:
    message = exchange.message
    command = CheckIn(
        by=exchange.by,
        place=exchange.place,
        barcode=message.get("AB"),
        no_block=exchange.no_block,
        undo=True,
        card=message.get("AA"),
    )
    outcome = await exchange.services.circulation.execute(command)
    if not isinstance(outcome, CheckedIn):
        return refuse(exchange, outcome)
    asked_for = SeeItem(by=exchange.by, barcode=outcome.item.barcode, agency=outcome.item.agency)
    seen = await unless_away(exchange.services.circulation.execute(asked_for))
    due = seen.due if isinstance(seen, ItemSeen) else None
    text = notice_text(Notice.RETURN_UNDONE, exchange.language())
    return _loan_reply(exchange, outcome.title, due, [text], had_before=True, request=outcome.request)


async def check_in(exchange: Exchange) -> Reply:
    """Answer a Checkin (09) with a 10. BI (cancel) means that a checkout failed at the terminal: the loan is undone."""
    message = exchange.message
    if not message.get("AB"):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if exchange.is_set("BI"):
        return await _undo_checkout(exchange)
    happened = exchange.offline_instant("return_date", "transaction_date")
    command = CheckIn(
        by=exchange.by, place=exchange.place, barcode=message.get("AB"), no_block=exchange.no_block, happened_at=happened
    )
    outcome = await exchange.services.circulation.execute(command)
    if not isinstance(outcome, CheckedIn):
        return refuse(exchange, outcome, **_refusal_fields(exchange, outcome))
    patron = await _find_waiting_patron(exchange, outcome)
    taken = _checkin_reply(exchange, outcome, patron)
    return replace(taken, fields={**taken.fields, **await _sorter_fields(exchange, outcome, patron)})


def _refusal_fields(exchange: Exchange, refusal: Refused) -> dict[str, Value]:
    """Return additional fields for a refused check-in.

    If the dialect's `no_checkin` is "resensitize", an item that is not on loan is resensitized without a staff alert. A
    partner's item is sent to its owner if no patron is waiting for it here.
    """
    if refusal.why in (Reason.NOT_ON_LOAN, Reason.UNKNOWN_ITEM) and exchange.session.dialect.no_checkin == "resensitize":
        return {"resensitize": "Y", "alert": "N", "CL": "", "CV": ""}
    return {"CT": refusal.item.agency} if refusal.why is Reason.BELONGS_ELSEWHERE and refusal.item else {}


async def _sorter_fields(exchange: Exchange, taken: CheckedIn, patron: PatronSeen | None) -> dict[str, Value]:
    """Return the fields for sorters (CS, CH) and the name of the hold's patron (DA), if the dialect lists these tags."""
    fields: dict[str, Value] = {}
    wanted = exchange.session.dialect.extensions
    if "CS" in wanted:
        asked_for = SeeItem(by=exchange.by, barcode=taken.item.barcode, agency=taken.item.agency)
        seen = await unless_away(exchange.services.circulation.execute(asked_for))
        fields |= {"CS": seen.call_number, "CH": seen.properties} if isinstance(seen, ItemSeen) else {}
    if "DA" in wanted and taken.held_for:
        fields["DA"] = patron.name.reveal() if patron else ""
    return {tag: value for tag, value in fields.items() if value}


def _loss_texts(exchange: Exchange, taken: CheckedIn) -> list[str]:
    """Tell the counter that a returned book was lost and paid for, and whether we owe the patron money."""
    if not taken.paid_cents:
        return []
    notice = Notice.PAID_BACK if taken.refund_cents else Notice.PAID_FOR
    sums = {
        "paid": dollars(taken.paid_cents),
        "refund": dollars(taken.refund_cents),
        "currency": exchange.session.dialect.currency,
    }
    return [notice_text(notice, exchange.language(), **sums)]


async def _find_waiting_patron(exchange: Exchange, taken: CheckedIn) -> PatronSeen | None:
    """Look up the patron for whom a book has arrived, or whose name a sorter prints. None if nobody needs to be known."""
    is_named = "DA" in exchange.session.dialect.extensions
    if not taken.held_for or not (is_named or taken.what == Arrival.RECEIVED):
        return None
    asked_for = SeePatron(by=exchange.by, card=taken.held_for)
    return await unless_away(exchange.services.circulation.execute(asked_for))


def _sort_key(taken: CheckedIn) -> str:
    if taken.what == Arrival.AGAIN and taken.held_for:
        return "held"
    if taken.what == Arrival.RETURNED and taken.fine_cents:
        return "late"
    return taken.what


def _checkin_reply(exchange: Exchange, taken: CheckedIn, patron: PatronSeen | None = None) -> Reply:
    route = SORT_BINS[_sort_key(taken)]
    # The right to borrow may have been lost since the request (R2, R13).
    cannot_borrow = taken.what == Arrival.RECEIVED and patron is not None and patron.lost_right is not None
    goes_to = "" if route.bin == "shelf" else taken.destination
    fine = {"fine": dollars(taken.fine_cents), "currency": exchange.session.dialect.currency}
    texts = [notice_text(route.notice, exchange.language(), destination=goes_to, **fine)]
    texts += [notice_text(Notice.RECALLED, exchange.language())] if taken.recalled and taken.held_for else []
    texts += [notice_text(Notice.ANOTHER_BOOK, exchange.language())] if taken.another_book else []
    texts += [notice_text(Notice.ASK_READER_FIRST, exchange.language())] if cannot_borrow else []
    texts += _loss_texts(exchange, taken)
    texts += [notice_text(Notice.OFFLINE_CONFLICT, exchange.language())] if taken.conflict else []
    alert = bool(taken.alert or taken.conflict)
    fields: dict[str, Value] = {
        "ok": "1",
        "resensitize": "Y",
        "alert": "Y" if alert else "N",
        "AQ": taken.item.agency,
        "AJ": taken.title,
        "CL": route.bin or goes_to,
        "CT": goes_to,
        "CV": route.alert if alert or exchange.session.dialect.alerts == "always" else "",
        "CY": taken.held_for,
        "AF": tuple(texts),
    }
    return reply(exchange, fields, request=taken.request)


async def _undo_checkout(exchange: Exchange) -> Reply:
    outcome = await exchange.services.circulation.execute(_checkout_command(exchange, undo=True))
    if not isinstance(outcome, CheckedOut):
        return refuse(exchange, outcome)
    fields: dict[str, Value] = {
        "ok": "1",
        "resensitize": "Y",
        "AQ": outcome.item.agency,
        "AJ": outcome.title,
        "CL": "hold",
        "CV": "01",
        "AF": (notice_text(Notice.LOAN_UNDONE, exchange.language(outcome.language)),),
    }
    return reply(exchange, fields, request=outcome.request)


async def renew(exchange: Exchange) -> Reply:
    """Answer a Renew (29) with a 30. The item is identified by its barcode (AB) or, without AB, by its title (AJ)."""
    message = exchange.message
    if not (message.get("AA") and (message.get("AB") or message.get("AJ"))):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if exchange.pin_missing:
        return refuse_by(exchange, Reason.WRONG_PIN)
    command = Renew(
        by=exchange.by,
        card=message.get("AA"),
        barcode=message.get("AB"),
        title=message.get("AJ"),
        pin=exchange.pin,
        pin_given=bool(exchange.pin),
        fee_acknowledged=exchange.is_set("BO"),
    )
    outcome = await exchange.services.circulation.execute(command)
    if isinstance(outcome, Renewed):
        return _renewal_reply(exchange, outcome)
    due = outcome.due if isinstance(outcome, Refused) and outcome.why is not Reason.NOT_ON_LOAN else None
    return refuse(exchange, outcome, AH=exchange.due(due), **_fee_fields(exchange, outcome))


def _renewal_reply(exchange: Exchange, done: Renewed) -> Reply:
    """Build the reply to a renewal. If the lender has yet to grant it, the reply is not ok and shows the unchanged due date."""
    language = exchange.language(done.language)
    text = notice_text(Notice.RENEWAL_ASKED if done.pending else Notice.RENEWED, language, due=done.due)
    loan = _loan_reply(exchange, done.title, done.due, [text], had_before=True, request=done.request)
    flags = {"ok": "0", "renewal_ok": "N", "desensitize": "N"} if done.pending else {}
    fee = {"BT": "04", "BH": exchange.session.dialect.currency, "BV": dollars(done.fine_cents)} if done.fine_cents else {}
    return replace(loan, fields={**loan.fields, **flags, **fee, "AB": done.item.barcode})


async def renew_all(exchange: Exchange) -> Reply:
    """Answer a Renew All (65) with a 66. Every loan is listed in BM or BN, and AF gives the reason for each entry in BN."""
    message = exchange.message
    if not message.get("AA"):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if exchange.pin_missing:
        return refuse_by(exchange, Reason.WRONG_PIN)
    command = RenewAll(by=exchange.by, card=message.get("AA"), pin=exchange.pin, fee_acknowledged=exchange.is_set("BO"))
    done = await exchange.services.circulation.execute(command)
    if isinstance(done, Refused):
        return refuse(exchange, done)
    # A renewal that the lender has yet to grant counts as not renewed.
    language = exchange.language(done.language)
    yes = [one for one in done.renewed if not one.pending]
    noes = [(one.item.barcode, notice_text(Notice.RENEWAL_ASKED, language, due=one.due)) for one in done.renewed if one.pending]
    currency = {"currency": exchange.session.dialect.currency}
    noes += [(no.item.barcode if no.item else "", say(no.why, language, {**currency, **no.detail})) for no in done.refused]
    fields: dict[str, Value] = {
        "ok": "1",
        "renewed_count": f"{len(yes)}",
        "unrenewed_count": f"{len(noes)}",
        "BM": tuple(one.item.barcode for one in yes),
        "BN": tuple(barcode for barcode, _ in noes),
        "AF": (
            notice_text(Notice.ALL_RENEWED, language, count=len(yes)),
            *(notice_text(Notice.NOT_RENEWED, language, item=barcode, why=why) for barcode, why in noes),
        ),
    }
    return reply(exchange, fields)
