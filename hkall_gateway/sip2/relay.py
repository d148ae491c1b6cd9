"""Relays messages that do not concern HKALL to the local system, and merges the replies if a message concerns both.

A self-check connects to one host. If that host is the gateway, the library's own items must work as before. RELAY_RULES decides
which side handles a message. A message that is not in the table is handled by the gateway alone.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from hkall_gateway.circulation.cards import ConcernsHkall
from hkall_gateway.circulation.partners.local_messages import (
    BeginTransaction,
    EndTransaction,
    EnqueueLocal,
    MarkDelivered,
    MarkRefused,
    MarkUndelivered,
    TakeOffline,
)
from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.circulation.queries import CopySystem, FindCopySystem, HkallRecord, SeeRecord
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, LocalSend
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.sip2.client import LOOKS, HungUp, KnownFlags, Unanswered, UpstreamInterface, encode_body, pin_verdict
from hkall_gateway.sip2.codec.body import bytes_of, patch_body, text_of, transcode
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, body_of, decode
from hkall_gateway.sip2.codec.messages import BX
from hkall_gateway.sip2.exchange import Exchange, Handler, Reply, dollars, refuse_by, reply
from hkall_gateway.sip2.handlers.items import MODES, NO_COPY, OUT, hold_command
from hkall_gateway.sip2.handlers.patrons import (
    FINES,
    LISTINGS,
    entries_by_list,
    entry_text,
    hold_texts,
    requested_list,
    unknown_texts,
)
from hkall_gateway.sip2.screen_messages import Notice, notice_text

LOG = structlog.get_logger()

RelayRule = Callable[[Exchange, UpstreamInterface, Handler], Awaitable[Reply]]
"""Takes the exchange, the local system and our own handler, and returns the reply. Never raises Unreachable."""

LATER: Final = {
    "01": LocalSend.TELL_ILS_BLOCKED,
    "09": LocalSend.TELL_ILS_BACK,
    "11": LocalSend.TELL_ILS_LENT,
    "25": LocalSend.TELL_ILS_ENABLED,
}
"""Messages that both sides execute. The value is the message queued for the local system while it is unreachable."""
CHECKED: Final = {
    "09": LocalSend.CHECK_ILS_RETURN,
    "11": LocalSend.CHECK_ILS_LOAN,
    "37": LocalSend.CHECK_ILS_PAYMENT,
}
"""Transactions on the local system's own items. The value is the check that is queued if the transaction is not answered.

The terminal then showed a refusal, although the local system may have executed the transaction.
"""
SAYS_NO_MORE: Final = LOOKS | {"09"}
"""Messages whose refusal does not mention a missing answer: queries, and returns (their alert sends the item to staff)."""
SAME: Final = ("AA", "AB")
"""Fields in which the message and the reply must name the same patron and item."""
LOOK_UP: Final = {"AA": "63", "AB": "17"}
"""The query that returns the identifier under which the local system knows a patron or an item."""
FLAGS: Final = ("checkin_ok", "checkout_ok", "acs_renewal_policy", "status_update_ok", "off_line_ok")
"""The flags in 98 that state the supported functions, in addition to BX."""
OF_THE_LINE: Final = frozenset({"93", "97", "99"})
"""Messages about the connection itself, which each side answers on its own."""
OURS_ALONE: Final = "#"
"""The prefix by which our own charges are numbered in the lists of 64, and therefore in CG of 37."""


def answer(exchange: Exchange, handler: Handler) -> Awaitable[Reply]:
    """Route a message to the side that it concerns, or to our own handler if there is no local system."""
    route = RELAY_RULES.get(exchange.message.code)
    if exchange.upstream is None or route is None:
        return handler(exchange)
    return route(exchange, exchange.upstream, handler)


async def _relay_item_message(exchange: Exchange, upstream: UpstreamInterface, handler: Handler) -> Reply:
    """Answer 09, 11, 17, 19 and 29 on the side that has the item, or on both sides if it is ours and lent to a partner."""
    whose = await _find_item_side(exchange, upstream)
    if whose is CopySystem.THEIRS:
        return await _forward(exchange, upstream)
    if whose is CopySystem.EITHER:
        return refuse_by(exchange, Reason.AMBIGUOUS_ITEM)
    if whose is CopySystem.LENT:
        return await _handle_and_notify(exchange, upstream, handler)
    return await handler(exchange)


async def _find_item_side(exchange: Exchange, upstream: UpstreamInterface) -> CopySystem:
    """Find the side that has the item.

    A barcode known to both sides belongs to the HKALL item if the local system's item is not on loan, and is ambiguous
    otherwise. A renewal by title is handled here if the patron has an HKALL loan with that title.
    """
    barcode = exchange.message.get("AB")
    if not barcode:
        title = exchange.message.get("AJ")
        if not title:
            return CopySystem.OURS
        record = await exchange.services.circulation.execute(SeeRecord(exchange.message.get("AA")))
        mine = any(line.request.is_named(title) and line.request.position is Position.ON_LOAN for line in record.lines)
        return CopySystem.OURS if mine else CopySystem.THEIRS
    arriving = exchange.message.code == "09"
    named = FindCopySystem(
        barcode=barcode, card=exchange.message.get("AA"), institution=exchange.message.get("AO"), arriving=arriving
    )
    whose = await exchange.services.circulation.execute(named)
    if whose is CopySystem.LENT and exchange.message.code == "29":  # renewed here by a patron of the local system
        return CopySystem.THEIRS
    if whose not in (CopySystem.EITHER, CopySystem.NOT_FOR_CARD):
        return whose
    seen = await _decode_reply(exchange, upstream, _lookup_query(exchange))
    if whose is CopySystem.NOT_FOR_CARD:
        # For an unknown item, an 18 contains neither a title nor a usable status.
        has = seen is not None and (seen.get("AJ").strip() or seen.get("circulation_status") not in NO_COPY)
        return CopySystem.THEIRS if has else CopySystem.OURS
    return CopySystem.OURS if seen is not None and seen.get("circulation_status") not in OUT else CopySystem.EITHER


def _lookup_query(exchange: Exchange, tag: str = "AB") -> bytes:
    """Return the body of a query for the item (AB) or patron (AA) of the message."""
    code, blanks = LOOK_UP[tag], " " * 10
    fixed = f"000{exchange.date18(exchange.now)}{blanks}" if code == "63" else exchange.date18(exchange.now)
    query = f"{code}{fixed}AO{exchange.message.get('AO')}|{tag}{exchange.message.get(tag)}|AC|"
    dialect = exchange.session.dialect
    return query.replace("|", dialect.delimiter).encode(dialect.encoding, "replace")


async def _handle_and_notify(exchange: Exchange, upstream: UpstreamInterface, handler: Handler) -> Reply:
    """Check our own item out to a partner, or back in: decide in the gateway, then notify the local system.

    If the local system is unreachable, it is notified later. If it refuses, or if a cancellation cannot be sent, our change
    stands, the request is flagged, and the terminal tells staff to enter the change in the local system.
    """
    own_reply = await handler(exchange)
    if own_reply.no is not None or exchange.message.code not in ("09", "11"):
        return own_reply
    circulation, message = (
        exchange.services.circulation,
        _local_message(exchange, LATER[exchange.message.code], own_reply.request),
    )
    number = await circulation.execute(EnqueueLocal(message, exchange.by))
    if not isinstance(number, int):
        return _add_text(own_reply, notice_text(Notice.WILL_BE_TOLD, exchange.language()))
    local_body, unsure = await _try_forward(exchange, upstream)
    reply = _decode_body(local_body, exchange) if local_body is not None else None
    if reply is not None and reply.get("ok") == "1":
        await circulation.execute(_delivered(exchange, number, message))
        return own_reply
    LOG.warning("sip2.not_told_to_ils", code=exchange.message.code, request_id=own_reply.request, reached=reply is not None)
    if reply is None and not exchange.is_set("BI"):
        return await _queue_notice(exchange, own_reply, number, message, unsure=unsure)
    await circulation.execute(MarkRefused(number, message, exchange.by))
    return _add_text(own_reply, notice_text(Notice.NOT_TOLD, exchange.language()))


def _delivered(exchange: Exchange, number: int, message: LocalMessage) -> MarkDelivered:
    return MarkDelivered(number=number, message=message, by=exchange.by, late=exchange.services.late_execution)


async def _queue_notice(exchange: Exchange, own_reply: Reply, number: int, message: LocalMessage, *, unsure: bool) -> Reply:
    """Queue the message for the local system, and add a screen message that says so."""
    await exchange.services.circulation.execute(MarkUndelivered(number=number, message=message, by=exchange.by, unsure=unsure))
    return _add_text(own_reply, notice_text(Notice.WILL_BE_TOLD, exchange.language()))


def _local_message(exchange: Exchange, send: LocalSend, request: str = "", *, was_in: bool = False) -> LocalMessage:
    """Convert the terminal's message to an outbox message for the local system, leaving out PIN and passwords."""
    message = exchange.message
    return LocalMessage(
        send=send.value,
        at=exchange.offline_instant("return_date", "transaction_date") or exchange.now,
        request=request,
        patron=message.get("AA"),
        barcode=message.get("AB"),
        text=message.get("AL") or message.get("CG"),
        retained=exchange.is_set("card_retained"),
        amount=message.get("BV"),
        transaction=message.get("BK").strip(),
        terminal=exchange.by.who,
        was_in=was_in,
    )


async def _relay_patron_message(exchange: Exchange, upstream: UpstreamInterface, handler: Handler) -> Reply:
    """Answer 23 and 63 with the local system's record merged with ours.

    While the local system is unreachable, the reply is our record with a screen message that says so.
    """
    try:
        local_body = await _exchange_body(exchange, upstream, _relayed_line(exchange))
    except Unreachable as lost:
        return await _record_while_away(exchange, await handler(exchange), _away_notice(lost))
    record = _decode_body(local_body, exchange)
    if record is None:
        return Reply({}, body=local_body)
    if record.get("BL") == "N":
        exchange.remember(valid=False, pin_ok=False)
        return Reply({}, body=local_body)
    pin_ok = await _judge_pin(exchange, record)
    exchange.remember(valid=True, pin_ok=pin_ok is True, record=record)
    local_body = _say_pin(exchange, local_body, record, pin_ok)
    if exchange.pin and not pin_ok:
        return Reply({}, body=local_body, wrong_pin=pin_ok is False)
    # The local system may reply with a card number that was not scanned. HKALL loans may be recorded under either number.
    cards = dict.fromkeys([exchange.message.get("AA"), record.get("AA").strip()])
    found = [await exchange.services.circulation.execute(SeeRecord(card)) for card in cards if card]
    hkall = next((hkall for hkall in found if hkall.lines or hkall.charges), HkallRecord())
    trusted = bool(exchange.pin) or not exchange.session.dialect.pin_required
    return Reply({}, body=_merge_records(exchange, local_body, record, hkall if trusted else HkallRecord()))


async def _judge_pin(exchange: Exchange, record: Sip2Message) -> bool | None:
    """Return whether the PIN is right, or None if no PIN was sent or if that is unknown.

    If the local system's reply does not say, the key `pin` decides.
    """
    if not exchange.pin:
        return None
    verdict = pin_verdict(record)
    if verdict is not None:
        return verdict
    return await exchange.services.circulation.ils.unsaid_pin_ok(exchange.message.get("AA"), exchange.pin)


def _say_pin(exchange: Exchange, local_body: bytes, record: Sip2Message, pin_ok: bool | None) -> bytes:
    """Add what we know about the PIN to a reply that says nothing about it."""
    if not exchange.pin or pin_verdict(record) is not None:
        return local_body
    if pin_ok is not None:
        flag, texts = "Y" if pin_ok else "N", []
    else:
        flag, texts = exchange.last_known(known=True).pin, [notice_text(Notice.PIN_UNKNOWN_NOW, exchange.language())]
    tags = [("CQ", flag)] if flag else []
    return patch_body(local_body, {}, [*tags, *(("AF", text) for text in texts)], exchange.session.dialect)


def _away_notice(lost: Unreachable) -> Notice:
    """Return the screen message for a missing reply. A system that hangs up over one message may answer all others."""
    return Notice.ILS_NO_ANSWER if isinstance(lost, HungUp) else Notice.ILS_AWAY


async def _record_while_away(exchange: Exchange, own_reply: Reply, away: Notice) -> Reply:
    """Return our own record while the local system is unreachable, or its last good answer if we have no record.

    BL and CQ have their last known values, BV is left out, and screen messages name what is unknown. A card or PIN that does
    not match the loaded patron file may still be valid, so the reply is TRY_AGAIN instead of a refusal.
    """
    flags, language = exchange.last_known(known=own_reply.fields.get("BL") == "Y"), exchange.language()
    undecided = own_reply.no is not None and own_reply.no.why in {Reason.UNKNOWN_BORROWER, Reason.TRY_AGAIN}
    accepted = flags.valid == "Y" and (not exchange.pin or flags.pin == "Y")
    if undecided and accepted and flags.status:
        return await _last_good_record(exchange, flags, away)
    stranger = own_reply.no is not None and own_reply.no.why is Reason.UNKNOWN_BORROWER
    if stranger or (exchange.pin and own_reply.fields.get("CQ") != "Y"):
        own_reply = replace(refuse_by(exchange, Reason.TRY_AGAIN), wrong_pin=own_reply.wrong_pin and flags.pin != "Y")
    elif exchange.pin:
        flags = replace(flags, pin="Y")
    unknown = [
        *unknown_texts(exchange, flags, language),
        notice_text(away, language),
        notice_text(Notice.OWED_UNKNOWN_NOW, language),
    ]
    fields = {name: value for name, value in own_reply.fields.items() if name not in ("BL", "CQ", "BV", "BH", "AF")}
    fields["AE"] = own_reply.fields.get("AE", "")
    fields |= {name: value for name, value in (("BL", flags.valid), ("CQ", flags.pin)) if value}
    fields["AF"] = tuple(dict.fromkeys([*_patron_texts(own_reply.fields.get("AF", ())), *unknown]))
    return replace(own_reply, fields=fields)


async def _last_good_record(exchange: Exchange, flags: KnownFlags, away: Notice) -> Reply:
    """Repeat what the local system said last about a card that it accepted, so that the session can begin.

    Amounts, counts and lists of that answer may be outdated, so the reply has HKALL's alone, and a screen message says so.
    """
    language = exchange.language()
    fields: dict[str, Value] = {
        "patron_status": flags.status,
        "AE": flags.name.reveal(),
        "BL": flags.valid,
        "CQ": flags.pin,
        "AF": (notice_text(away, language), notice_text(Notice.OWED_UNKNOWN_NOW, language)),
    }
    message = Sip2Message(exchange.reply_code, reply(exchange, fields).fields)
    body = encode_body(message, exchange.session.dialect)
    hkall = await exchange.services.circulation.execute(SeeRecord(exchange.message.get("AA")))
    trusted = bool(exchange.pin) or not exchange.session.dialect.pin_required
    return Reply({}, body=_merge_records(exchange, body, message, hkall if trusted else HkallRecord()))


def _merge_records(exchange: Exchange, local_body: bytes, record: Sip2Message, hkall: HkallRecord) -> bytes:
    """Add our counts, list entries and screen messages to the local system's reply. Our entries come last in each list."""
    owed, lists = sum(line.left_cents for line in hkall.charges), entries_by_list(hkall)
    texts, currency = hold_texts(exchange, lists, exchange.language()), exchange.session.dialect.currency
    if owed:
        texts.append(notice_text(Notice.OWED, exchange.language(), owed=dollars(owed), currency=currency))
    tags = [("AF", text) for text in texts]
    if exchange.message.code != "63":
        return patch_body(local_body, {}, tags, exchange.session.dialect)
    # If the local system already counts HKALL loans, only charges are added.
    counted_there = exchange.services.circulation.library.policy.quota.ils_counts_hkall
    rows = [row for row in LISTINGS if not counted_there or row is LISTINGS[FINES]]
    more = {row.count: len(lists[row.tag]) for row in rows if lists[row.tag]}
    counts = {name: f"{_count_of(record.get(name)) + count:04}" for name, count in more.items()}
    row = requested_list(exchange.message)
    if row in rows:
        # The terminal requests the entries from BP to BQ. Our entries are numbered after the local system's.
        message, entries, before = exchange.message, lists[row.tag], _count_of(record.get(row.count))
        first, last = _count_of(message.get("BP")) or 1, _count_of(message.get("BQ")) or before + len(entries)
        page = entries[max(first - 1 - before, 0) : max(last - before, 0)]
        tags = [*((row.tag, entry_text(exchange, row, line)) for line in page), *tags]
    return patch_body(local_body, counts, tags, exchange.session.dialect)


async def _relay_renew_all(exchange: Exchange, upstream: UpstreamInterface, handler: Handler) -> Reply:
    """Answer 65 with the renewals on both sides and the total count."""
    hkall = await exchange.services.circulation.execute(SeeRecord(exchange.message.get("AA")))
    local_body, unsure = await _try_forward(exchange, upstream)
    if local_body is None:
        notice = Notice.NO_ANSWER if unsure else Notice.ILS_AWAY
        return _add_text(await handler(exchange), notice_text(notice, exchange.language()))
    record = _decode_body(local_body, exchange)
    if record is None or not hkall.lines:
        return Reply({}, body=local_body)
    own_reply = await handler(exchange)
    if own_reply.no is not None:
        return Reply({}, body=local_body)
    names = ("renewed_count", "unrenewed_count")
    counts = {name: f"{_count_of(record.get(name)) + _count_of(str(own_reply.fields.get(name, ''))):04}" for name in names}
    _, *texts = _patron_texts(own_reply.fields.get("AF", ()))  # the first text has only our own count
    summed = notice_text(Notice.ALL_RENEWED, exchange.language(), count=_count_of(counts["renewed_count"]))
    tags = [(tag, text) for tag in ("BM", "BN") for text in _patron_texts(own_reply.fields.get(tag, ()))]
    tags += [("AF", text) for text in (summed, *texts)]
    return Reply({}, body=patch_body(local_body, {"ok": "1", **counts}, tags, exchange.session.dialect))


async def _execute_on_both(exchange: Exchange, upstream: UpstreamInterface, handler: Handler) -> Reply:
    """Execute 01, 25 and 35 on both sides. Return the local system's reply, or our own if that system is unreachable.

    A card that is blocked or enabled while the local system is unreachable is blocked or enabled there later.
    """
    own_reply = await handler(exchange)
    if exchange.message.code in LATER and exchange.services.known is not None:
        exchange.services.known.forget(exchange.message.get("AA"))
    if own_reply.no is not None or exchange.message.code not in LATER:
        local_body = await _reply_or_none(exchange, upstream)
        return own_reply if local_body is None else Reply({}, body=local_body)
    circulation, message = exchange.services.circulation, _local_message(exchange, LATER[exchange.message.code])
    number = await circulation.execute(EnqueueLocal(message, exchange.by))
    if not isinstance(number, int):
        return _add_text(own_reply, notice_text(Notice.WILL_BE_TOLD, exchange.language()))
    local_body, unsure = await _try_forward(exchange, upstream)
    if local_body is None:
        return await _queue_notice(exchange, own_reply, number, message, unsure=unsure)
    await circulation.execute(_delivered(exchange, number, message))
    return Reply({}, body=local_body)


async def _relay_hold(exchange: Exchange, upstream: UpstreamInterface, handler: Handler) -> Reply:
    """Answer 15: handle an HKALL request or a union catalogue title here, and forward a hold on a local barcode."""
    mode = MODES.get(exchange.message.get("hold_mode"))
    if mode is None or await exchange.services.circulation.execute(ConcernsHkall(await hold_command(exchange, mode[0]))):
        return await handler(exchange)
    return await _forward(exchange, upstream)


async def _relay_payment(exchange: Exchange, upstream: UpstreamInterface, handler: Handler) -> Reply:
    """Answer 37: handle a payment for one of our charges here, and forward any other payment.

    A payment that names no charge belongs to the local system, since BV of the relayed 64 is the amount owed there.
    """
    if exchange.message.get("CG").strip().startswith(OURS_ALONE):
        return await handler(exchange)
    return await _forward(exchange, upstream)


async def _relay_status(exchange: Exchange, upstream: UpstreamInterface, handler: Handler) -> Reply:
    """Answer 99 with the functions that both sides support.

    Before the login, the 98 describes the gateway alone. If the local system is unreachable, the 98 still says on line, because
    HKALL loans are possible, and a screen message gives the reason. If that system refuses the login, the 98 says off line.
    """
    own_reply = await handler(exchange)
    if exchange.session.terminal is None:
        return own_reply
    local_body = await _decode_reply(exchange, upstream, _relayed_line(exchange))
    if upstream.refused:
        off = _add_text(own_reply, notice_text(Notice.LOGIN_REFUSED, exchange.language()))
        return replace(off, fields={**off.fields, "on_line_status": "N"})
    if local_body is None or local_body.get("on_line_status") == "N":
        return _add_text(own_reply, notice_text(Notice.ILS_AWAY, exchange.language()))
    # A function is offered if both sides say Y. A flag that is missing in the local system's 98 is taken from our 98.
    flags = {name: "N" for name in FLAGS if local_body.get(name) == "N"}
    theirs_say = dict(zip(BX, local_body.get("BX"), strict=False))
    mine = zip(BX, _patron_texts(own_reply.fields.get("BX", ""))[0], strict=False)
    both = ("N" if code not in OF_THE_LINE and theirs_say.get(code) == "N" else flag for code, flag in mine)
    return replace(own_reply, fields={**own_reply.fields, **flags, "BX": "".join(both)})


async def _forward(exchange: Exchange, upstream: UpstreamInterface) -> Reply:
    """Forward a message and return the local system's reply, or "please try again" if it does not reply.

    If the local system may nevertheless have executed the message, the screen message says so.
    """
    if exchange.no_block and exchange.message.code in LATER:
        return await _take_offline_transaction(exchange, upstream)
    if exchange.message.code in CHECKED:
        return await _forward_transaction(exchange, upstream)
    try:
        return Reply({}, body=await _query_reply(exchange, upstream))
    except Unreachable as lost:
        return _refuse_unsent(exchange, lost)


async def _forward_transaction(exchange: Exchange, upstream: UpstreamInterface) -> Reply:
    """Forward a transaction, with a check in the outbox that is removed when the local system answers.

    An earlier queued message about the same item is superseded by this transaction and is held back meanwhile.
    """
    circulation, code = exchange.services.circulation, exchange.message.code
    try:
        check = _local_message(exchange, CHECKED[code], was_in=await _is_not_on_loan(exchange, upstream))
    except Unreachable:
        return refuse_by(exchange, Reason.TRY_AGAIN)
    number = await circulation.execute(BeginTransaction(check, exchange.by))
    if not isinstance(number, int):
        return _refuse_uncertain(exchange) if code == "37" else refuse_by(exchange, Reason.TRY_AGAIN)
    try:
        local_body = await _query_reply(exchange, upstream)
    except Unreachable as lost:
        if _may_have_arrived(lost):
            await circulation.execute(MarkUndelivered(number=number, message=check, by=exchange.by, unsure=True))
        else:
            await circulation.execute(EndTransaction(number=number, message=check, by=exchange.by, done=False))
        return _refuse_unsent(exchange, lost)
    done = _is_success(local_body)
    late = exchange.services.late_execution
    await circulation.execute(EndTransaction(number=number, message=check, by=exchange.by, done=done, late=late))
    return Reply({}, body=local_body)


async def _take_offline_transaction(exchange: Exchange, upstream: UpstreamInterface) -> Reply:
    """Answer a transaction that the terminal has already carried out: yes, once it is in the outbox.

    The book has left, or lies in the drop, whatever the local system does. If that system answers at once, its answer is
    passed on, also a no. Otherwise the courier delivers the transaction, after earlier ones of the same item.
    """
    circulation = exchange.services.circulation
    message = _local_message(exchange, LATER[exchange.message.code])
    number = await circulation.execute(TakeOffline(message, exchange.by))
    if not isinstance(number, int):
        return _accept_offline_transaction(exchange)
    try:
        local_body = await _query_reply(exchange, upstream)
    except Unreachable as lost:
        await circulation.execute(
            MarkUndelivered(number=number, message=message, by=exchange.by, unsure=_may_have_arrived(lost))
        )
        return _accept_offline_transaction(exchange)
    done = _is_success(local_body)
    late = exchange.services.late_execution
    await circulation.execute(EndTransaction(number=number, message=message, by=exchange.by, done=done, late=late))
    return Reply({}, body=local_body)


def _accept_offline_transaction(exchange: Exchange) -> Reply:
    """Build the positive reply to an offline transaction that the local system hears of later."""
    fields: dict[str, Value] = {"ok": "1", "AF": (notice_text(Notice.TAKEN_OFFLINE, exchange.language()),)}
    if exchange.message.code == "11":
        fields |= {"desensitize": "Y", "AJ": exchange.message.get("AJ"), "AH": exchange.message.get("nb_due_date").strip()}
    else:
        fields |= {"resensitize": "Y", "AQ": exchange.message.get("AP")}
    return reply(exchange, fields)


async def _is_not_on_loan(exchange: Exchange, upstream: UpstreamInterface) -> bool:
    """Check that the item of a checkout is not on loan now. Return False if the site does not undo unanswered checkouts.

    Raises:
        Unreachable: The local system does not answer, so the checkout should not be sent either.
    """
    if exchange.message.code != "11" or not exchange.services.undoes_checkouts:
        return False
    seen = _decode_body(await _exchange_body(exchange, upstream, _lookup_query(exchange)), exchange)
    return seen is not None and seen.get("circulation_status") not in OUT | NO_COPY


def _may_have_arrived(lost: Unreachable) -> bool:
    return isinstance(lost, HungUp | Unanswered)


def _refuse_unsent(exchange: Exchange, lost: Unreachable) -> Reply:
    if exchange.message.code in SAYS_NO_MORE or not _may_have_arrived(lost):
        return refuse_by(exchange, Reason.TRY_AGAIN)
    return _refuse_uncertain(exchange)


def _refuse_uncertain(exchange: Exchange) -> Reply:
    """Build the negative reply to a message that the local system may have executed."""
    LOG.warning("sip2.ils_did_not_answer", code=exchange.message.code)
    return _add_text(refuse_by(exchange, Reason.TRY_AGAIN), notice_text(Notice.NO_ANSWER, exchange.language()))


async def _query_reply(exchange: Exchange, upstream: UpstreamInterface) -> bytes:
    """Relay the message and return the body of the local system's reply. Raise Unreachable if there is no usable reply.

    A positive reply that names another patron or item belongs to another message. The connection is then out of step and is
    closed.
    """
    local_body = await _exchange_body(exchange, upstream, _relayed_line(exchange))
    if (
        _is_success(local_body)
        and exchange.message.code not in LOOKS
        and not await _is_about_same(exchange, upstream, local_body)
    ):
        LOG.error("sip2.ils_named_another", code=exchange.message.code)
        upstream.close()
        raise Unanswered("its reply names another patron or item")
    return local_body


async def _is_about_same(exchange: Exchange, upstream: UpstreamInterface, local_body: bytes) -> bool:
    """Check that a reply names the message's patron and item, by the same identifier or by the local system's identifier."""
    reply = _decode_body(local_body, exchange)
    if reply is None:
        return False
    for tag in SAME:
        named, wanted = reply.get(tag).strip().casefold(), exchange.message.get(tag).strip().casefold()
        if named and wanted and named != wanted:
            known = await _decode_reply(exchange, upstream, _lookup_query(exchange, tag))
            if known is None or known.get(tag).strip().casefold() != named:
                return False
    return True


def _is_success(local_body: bytes) -> bool:
    return local_body[2:3] in (b"1", b"Y")


async def _reply_or_none(exchange: Exchange, upstream: UpstreamInterface) -> bytes | None:
    """Relay the message and return the body of the reply, or None if the local system is unreachable."""
    try:
        return await _exchange_body(exchange, upstream, _relayed_line(exchange))
    except Unreachable:
        return None


async def _try_forward(exchange: Exchange, upstream: UpstreamInterface) -> tuple[bytes | None, bool]:
    """Relay the message. Return the reply's body or None, and whether an unanswered message may have arrived."""
    try:
        return await _query_reply(exchange, upstream), False
    except Unreachable as lost:
        return None, _may_have_arrived(lost)


async def _decode_reply(exchange: Exchange, upstream: UpstreamInterface, body: bytes) -> Sip2Message | None:
    try:
        return _decode_body(await _exchange_body(exchange, upstream, body), exchange)
    except Unreachable:
        return None


async def _exchange_body(exchange: Exchange, upstream: UpstreamInterface, body: bytes) -> bytes:
    """Send a body in the local system's dialect, and return the reply's body in the terminal's dialect.

    Raise Unreachable if there is no usable reply. If the local system hung up, the metrics count it by terminal and code.
    """
    here, there = exchange.session.dialect, upstream.dialect
    try:
        return transcode(await upstream(transcode(blank_controls(body, here), here, there)), there, here)
    except HungUp:
        code = exchange.message.code
        exchange.services.metrics.ils_hang_ups.labels(exchange.terminal.login, code).inc()
        LOG.warning("sip2.ils_hung_up", code=code, asked=body[:2].decode("latin-1"))
        raise


def _decode_body(body: bytes, exchange: Exchange) -> Sip2Message | None:
    """Decode a reply. Return None for an unreadable reply, which can only be forwarded unchanged."""
    try:
        return decode(body, exchange.session.dialect)
    except BadMessage:
        return None


def _relayed_line(exchange: Exchange) -> bytes:
    """Return the body to relay, with "no block" set to N if the terminal may not work off line."""
    body = body_of(exchange.message.line, exchange.session.dialect)
    if exchange.is_set("no_block") and not exchange.no_block:
        return patch_body(body, {"no_block": "N"}, (), exchange.session.dialect)
    return body


def blank_controls(body: bytes, dialect: Sip2Dialect) -> bytes:
    """Replace control characters and all kinds of line ends by blanks."""
    text = text_of(body, dialect)
    if text.isprintable():
        return body
    return bytes_of(_CONTROLS.sub(" ", text), dialect)


_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\udc80-\udc9f]")
"""Matches C0 and C1 controls, Unicode's line ends, and undecodable bytes in the range of C1 (as surrogates)."""


def _add_text(own_reply: Reply, text: str) -> Reply:
    return replace(own_reply, fields={**own_reply.fields, "AF": (*_patron_texts(own_reply.fields.get("AF", ())), text)})


def _patron_texts(value: Value) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _count_of(text: str) -> int:
    return whole_number(text.strip()) or 0


# fmt: off
RELAY_RULES: Final[Mapping[str, RelayRule]] = {
    "01": _execute_on_both,
    "09": _relay_item_message,
    "11": _relay_item_message,
    "15": _relay_hold,
    "17": _relay_item_message,
    "19": _relay_item_message,
    "23": _relay_patron_message,
    "25": _execute_on_both,
    "29": _relay_item_message,
    "35": _execute_on_both,
    "37": _relay_payment,
    "63": _relay_patron_message,
    "65": _relay_renew_all,
    "99": _relay_status,
}
"""The rule for each message. A login (93) is not relayed: the connection to the local system logs in with its first message."""
# fmt: on
