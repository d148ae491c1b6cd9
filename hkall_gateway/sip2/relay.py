"""Relays messages that are not about HKALL to the library's own system, and joins both replies if both sides are concerned.

A self-check has one host: if it is the gateway, its own library's books must work as before. The table ROUTES says where a
message goes; a message that is not in it is handled here alone.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from hkall_gateway.desk.messages.results import Had, Whose
from hkall_gateway.desk.ports import Unreachable
from hkall_gateway.rules.messages.local_messages import LocalMessage, LocalSend
from hkall_gateway.rules.vocabulary import Position, Reason
from hkall_gateway.sip2.codec import BadMessage, Message, Value, body_of, decode
from hkall_gateway.sip2.dialects import Dialect
from hkall_gateway.sip2.holds import MODES, asked_hold
from hkall_gateway.sip2.items import NO_COPY, OUT
from hkall_gateway.sip2.messages import BX
from hkall_gateway.sip2.patrons import FINES, LISTINGS, Line, asked_list, line_text, lists_of, texts_of, what_is_unknown
from hkall_gateway.sip2.turns import Handler, Reply, Turn, dollars, refuse_by
from hkall_gateway.sip2.upstream import Beyond, HungUp, Unanswered
from hkall_gateway.sip2.words import News, tell
from hkall_gateway.sip2.writing import grafted

LOG = structlog.get_logger()

Route = Callable[[Turn, Beyond, Handler], Awaitable[Reply]]
"""(the exchange, the local system, our own handler) -> the reply. Never raises because the system is unreachable."""

LATER: Final = {
    "01": LocalSend.TELL_ILS_BLOCKED,
    "09": LocalSend.TELL_ILS_BACK,
    "11": LocalSend.TELL_ILS_LENT,
    "25": LocalSend.TELL_ILS_ENABLED,
}
"""Messages that both sides execute, and the message that is queued for the local system if it is unreachable."""
UNSURE: Final = {"11": LocalSend.CHECK_ILS_LOAN, "37": LocalSend.CHECK_ILS_PAYMENT}
"""Messages whose missing reply is checked later: the terminal showed a refusal, but the local system may have executed them."""
CHANGES_A_COPY: Final = frozenset({"09", "11"})
"""Messages of the local system's own books after which messages still queued about the copy are out of date."""
FLAGS: Final = ("checkin_ok", "checkout_ok", "acs_renewal_policy", "status_update_ok", "off_line_ok")
"""The flags of 98 that, beside BX, state the supported functions."""
OF_THE_LINE: Final = frozenset({"93", "97", "99"})
"""Messages about the connection itself, which each side answers for itself."""
OURS_ALONE: Final = "#"
"""A fee of ours is named by its number behind this, as the list of 64 shows it."""


def answer(turn: Turn, handler: Handler) -> Awaitable[Reply]:
    """Returns the reply of the side that the message concerns; ours if there is no local system behind the gateway."""
    route = ROUTES.get(turn.message.code)
    if turn.beyond is None or route is None:
        return handler(turn)
    return route(turn, turn.beyond, handler)


# ---- one copy


async def _copy(turn: Turn, beyond: Beyond, handler: Handler) -> Reply:
    """09, 11, 17, 19, 29: the side that has the copy answers. Our own book on loan to a partner is handled by both sides."""
    whose = await _whose(turn, beyond)
    if whose is Whose.THEIRS:
        return await _passed_on(turn, beyond)
    if whose is Whose.EITHER:
        return refuse_by(turn, Reason.AMBIGUOUS_ITEM)
    if whose is Whose.LENT:
        return await _told_to_both(turn, beyond, handler)
    return await handler(turn)


async def _whose(turn: Turn, beyond: Beyond) -> Whose:
    """Returns the side that has the copy.

    A barcode that both sides have is an HKALL book if the local system's copy is not on loan; otherwise it is ambiguous.
    """
    barcode = turn.message.get("AB")
    if not barcode:
        return Whose.OURS if not turn.message.get("AJ") else await _of_title(turn)
    arriving = turn.message.code == "09"
    whose = await turn.door.desk.whose_copy(barcode, turn.message.get("AA"), turn.message.get("AO"), arriving=arriving)
    if whose is Whose.LENT and turn.message.code == "29":  # the borrower who renews it is a patron of the local system
        return Whose.THEIRS
    if whose not in (Whose.EITHER, Whose.NOT_FOR_CARD):
        return whose
    seen = await _said(turn, beyond, _look_at(turn))
    if whose is Whose.NOT_FOR_CARD:
        return Whose.THEIRS if seen is not None and _has(seen) else Whose.OURS
    return Whose.OURS if seen is not None and seen.get("circulation_status") not in OUT else Whose.EITHER


def _has(seen: Message) -> bool:
    """Whether an 18 tells of a copy that the system has; of one that it does not know it says neither title nor status."""
    return bool(seen.get("AJ").strip()) or seen.get("circulation_status") not in NO_COPY


async def _of_title(turn: Turn) -> Whose:
    """A renewal by title: ours if the patron has such a book of ours."""
    had = await turn.door.desk.had(turn.message.get("AA"))
    mine = any(line.request.title == turn.message.get("AJ") and line.request.position is Position.ON_LOAN for line in had.lines)
    return Whose.OURS if mine else Whose.THEIRS


def _look_at(turn: Turn) -> bytes:
    told = f"17{turn.date18(turn.now)}AO{turn.message.get('AO')}|AB{turn.message.get('AB')}|AC|"
    dialect = turn.session.dialect
    return told.replace("|", dialect.delimiter).encode(dialect.encoding, "replace")


async def _told_to_both(turn: Turn, beyond: Beyond, handler: Handler) -> Reply:
    """Handles a book of our own that goes to a partner or comes back: we decide, and then notify the local system.

    If it is unreachable, it is notified later. If it refuses, or a cancellation cannot be sent, our change stands, its request
    is flagged, and the terminal's screen says that staff must enter it there.
    """
    ours = await handler(turn)
    if ours.no is not None or turn.message.code not in ("09", "11"):
        return ours
    desk, message = turn.door.desk, _message(turn, LATER[turn.message.code], ours.request)
    number = await desk.tell_local_system(message, turn.by)
    if number is None:
        return _with_text(ours, tell(News.WILL_BE_TOLD, turn.language()))
    theirs, unsure = await _tried(turn, beyond)
    told = _taken_apart(theirs, turn) if theirs is not None else None
    if told is not None and told.get("ok") == "1":
        await desk.local_system_told(number, message, turn.by)
        return ours
    LOG.warning("sip2.not_told_to_ils", code=turn.message.code, request_id=ours.request, reached=told is not None)
    if told is None and not turn.says("BI"):
        return await _told_later(turn, ours, number, message, unsure=unsure)
    await desk.local_system_differs(number, message, turn.by)
    return _with_text(ours, tell(News.NOT_TOLD, turn.language()))


async def _told_later(turn: Turn, ours: Reply, number: int, message: LocalMessage, *, unsure: bool) -> Reply:
    """Queues the message: the change is made here, and the local system is notified as soon as it is reachable."""
    await turn.door.desk.local_system_not_told(number, message, turn.by, unsure=unsure)
    return _with_text(ours, tell(News.WILL_BE_TOLD, turn.language()))


def _message(turn: Turn, send: LocalSend, request: str = "") -> LocalMessage:
    """Returns the terminal's action as a message to the local system, without PIN and passwords."""
    asked = turn.message
    return LocalMessage(
        send.value,
        turn.happened("return_date", "transaction_date") or turn.now,
        request=request,
        patron=asked.get("AA"),
        barcode=asked.get("AB"),
        text=asked.get("AL"),
        retained=turn.says("card_retained"),
        amount=asked.get("BV"),
    )


# ---- one patron


async def _patron(turn: Turn, beyond: Beyond, handler: Handler) -> Reply:
    """23, 63: the local system's record merged with ours. While it is unreachable: our record, and a text that says so."""
    theirs = await _reached(turn, beyond)
    if theirs is None:
        return _without_them(turn, await handler(turn))
    record = _taken_apart(theirs, turn)
    if record is None:
        return Reply({}, body=theirs)
    turn.remember(valid=record.get("BL") != "N", pin_ok=record.get("CQ") == "Y")
    if record.get("BL") == "N":
        return Reply({}, body=theirs)
    if turn.pin and record.get("CQ") != "Y":
        return Reply({}, body=theirs, wrong_pin=True)
    had = await _had(turn, record)
    trusted = bool(turn.pin) or not turn.session.dialect.pin_required
    return Reply({}, body=_joined(turn, theirs, record, had if trusted else Had()))


def _without_them(turn: Turn, ours: Reply) -> Reply:
    """Returns our own record while the local system is away: BL and CQ as last known, no BV, and texts that name the unknown.

    A card that is in no file of ours may still be one of its patrons, and a PIN that is not in our file may be right.
    """
    told, language = turn.last_known(known=ours.fields.get("BL") == "Y"), turn.language()
    stranger = ours.no is not None and ours.no.why is Reason.UNKNOWN_BORROWER
    if stranger or (turn.pin and ours.fields.get("CQ") != "Y"):
        ours = replace(refuse_by(turn, Reason.TRY_AGAIN), wrong_pin=ours.wrong_pin and told.pin != "Y")
    elif turn.pin:
        told = replace(told, pin="Y")
    unknown = [*what_is_unknown(turn, told, language), tell(News.ILS_AWAY, language), tell(News.OWED_UNKNOWN_NOW, language)]
    fields = {name: value for name, value in ours.fields.items() if name not in ("BL", "CQ", "BV", "BH", "AF")}
    fields["AE"] = ours.fields.get("AE", "")
    fields |= {name: value for name, value in (("BL", told.valid), ("CQ", told.pin)) if value}
    fields["AF"] = tuple(dict.fromkeys([*_texts(ours.fields.get("AF", ())), *unknown]))
    return replace(ours, fields=fields)


async def _had(turn: Turn, record: Message) -> Had:
    """Returns the patron's loans and charges here, under the card that was scanned or the card in the local system's reply."""
    cards = dict.fromkeys([turn.message.get("AA"), record.get("AA").strip()])
    found = [await turn.door.desk.had(card) for card in cards if card]
    return next((had for had in found if had.lines or had.charges), Had())


def _joined(turn: Turn, theirs: bytes, record: Message, had: Had) -> bytes:
    """Returns the local system's line with our counts added, our entries after theirs, and texts about holds and debts here."""
    owed, lists = sum(line.left_cents for line in had.charges), lists_of(had)
    texts = [*texts_of(turn, lists, turn.language()), *([_owed(turn, owed)] if owed else [])]
    tags = [("AF", text) for text in texts]
    if turn.message.code != "63":
        return grafted(theirs, {}, tags, turn.session.dialect)
    rows = [row for row in LISTINGS if not _counted_there(turn) or row is LISTINGS[FINES]]
    more = {row.count: len(lists[row.tag]) for row in rows if lists[row.tag]}
    counts = {name: f"{_number(record.get(name)) + count:04}" for name, count in more.items()}
    row = asked_list(turn.message)
    if row in rows:
        page = _rest(turn.message, lists[row.tag], _number(record.get(row.count)))
        tags = [*((row.tag, line_text(turn, row, line)) for line in page), *tags]
    return grafted(theirs, counts, tags, turn.session.dialect)


def _owed(turn: Turn, cents: int) -> str:
    return tell(News.OWED, turn.language(), owed=dollars(cents), currency=turn.session.dialect.currency)


def _counted_there(turn: Turn) -> bool:
    """Whether the local system has HKALL books among its own loans; then only money is ours to add."""
    return turn.door.desk.library.policy.quota.ils_counts_hkall


def _rest(asked: Message, lines: Sequence[Line], theirs: int) -> Sequence[Line]:
    """Returns our entries on the page from BP to BQ, where ours are numbered after `theirs`."""
    first, last = _number(asked.get("BP")) or 1, _number(asked.get("BQ")) or theirs + len(lines)
    return lines[max(first - 1 - theirs, 0) : max(last - theirs, 0)]


async def _renew_all(turn: Turn, beyond: Beyond, handler: Handler) -> Reply:
    """65: their books and ours, counted together."""
    had = await turn.door.desk.had(turn.message.get("AA"))
    theirs = await _reached(turn, beyond)
    if theirs is None:
        return _with_text(await handler(turn), tell(News.ILS_AWAY, turn.language()))
    record = _taken_apart(theirs, turn)
    if record is None or not had.lines:
        return Reply({}, body=theirs)
    ours = await handler(turn)
    if ours.no is not None:
        return Reply({}, body=theirs)
    names = ("renewed_count", "unrenewed_count")
    counts = {name: f"{_number(record.get(name)) + _number(str(ours.fields.get(name, ''))):04}" for name in names}
    _, *texts = _texts(ours.fields.get("AF", ()))  # the first one counts ours alone
    summed = tell(News.ALL_RENEWED, turn.language(), count=_number(counts["renewed_count"]))
    tags = [(tag, text) for tag in ("BM", "BN") for text in _texts(ours.fields.get(tag, ()))]
    tags += [("AF", text) for text in (summed, *texts)]
    return Reply({}, body=grafted(theirs, {"ok": "1", **counts}, tags, turn.session.dialect))


async def _both(turn: Turn, beyond: Beyond, handler: Handler) -> Reply:
    """01, 25, 35: executed on both sides; the reply is the local system's, or ours if it gives none.

    A card that is blocked or enabled here while it is unreachable is blocked or enabled there once it is back.
    """
    ours = await handler(turn)
    if ours.no is not None or turn.message.code not in LATER:
        theirs = await _reached(turn, beyond)
        return ours if theirs is None else Reply({}, body=theirs)
    desk, message = turn.door.desk, _message(turn, LATER[turn.message.code])
    number = await desk.tell_local_system(message, turn.by)
    if number is None:
        return _with_text(ours, tell(News.WILL_BE_TOLD, turn.language()))
    theirs, unsure = await _tried(turn, beyond)
    if theirs is None:
        return await _told_later(turn, ours, number, message, unsure=unsure)
    await desk.local_system_told(number, message, turn.by)
    return Reply({}, body=theirs)


# ---- requests and payments


async def _hold(turn: Turn, beyond: Beyond, handler: Handler) -> Reply:
    """15: our own request, or a title of the union catalogue, is handled here; a local system's barcode is a local hold."""
    mode = MODES.get(turn.message.get("hold_mode"))
    if mode is None or await turn.door.desk.is_our_wish(await asked_hold(turn, mode[0])):
        return await handler(turn)
    return await _passed_on(turn, beyond)


async def _pay(turn: Turn, beyond: Beyond, handler: Handler) -> Reply:
    """37: a payment that names one of our fees is handled here; any other goes to the local system, the source of BV in 64."""
    if turn.message.get("CG").strip().startswith(OURS_ALONE):
        return await handler(turn)
    return await _passed_on(turn, beyond)


async def _status(turn: Turn, beyond: Beyond, handler: Handler) -> Reply:
    """98: the functions that both sides support. While the local system is away, 98 says on line, for HKALL loans, and why.

    Before login the reply describes the gateway alone. If the local system refuses the login, the reply says off line.
    """
    ours = await handler(turn)
    if turn.session.terminal is None:
        return ours
    theirs = await _said(turn, beyond, _asked(turn))
    if beyond.refused:
        off = _with_text(ours, tell(News.LOGIN_REFUSED, turn.language()))
        return replace(off, fields={**off.fields, "on_line_status": "N"})
    if theirs is None or theirs.get("on_line_status") == "N":
        return _with_text(ours, tell(News.ILS_AWAY, turn.language()))
    return replace(ours, fields={**ours.fields, **_offered_by_both(ours, theirs)})


def _offered_by_both(ours: Reply, theirs: Message) -> dict[str, Value]:
    """Returns the flags of 98 and BX that are Y on both sides; a flag missing from theirs is taken from ours."""
    flags = {name: "N" for name in FLAGS if theirs.get(name) == "N"}
    theirs_say = dict(zip(BX, theirs.get("BX"), strict=False))
    mine = zip(BX, _texts(ours.fields.get("BX", ""))[0], strict=False)
    both = ("N" if code not in OF_THE_LINE and theirs_say.get(code) == "N" else flag for code, flag in mine)
    return {**flags, "BX": "".join(both)}


# ---- to the local system and back


async def _passed_on(turn: Turn, beyond: Beyond) -> Reply:
    """Returns the local system's whole reply, or this message's negative reply "please try again".

    A checkout or a payment without a reply may have been executed: the screen says so, and the result is checked later. A
    message still queued about a copy that is lent or returned now is superseded by it, and is held back meanwhile.
    """
    code, desk, barcode = turn.message.code, turn.door.desk, turn.message.get("AB")
    waits = code in CHANGES_A_COPY and await desk.copy_waits(barcode)
    if waits and not await desk.put_off(barcode):
        return refuse_by(turn, Reason.TRY_AGAIN)
    try:
        theirs = await _exchanged(turn, beyond, _asked(turn))
    except (HungUp, Unanswered):
        return await _may_be_done(turn) if code in UNSURE else refuse_by(turn, Reason.TRY_AGAIN)
    except Unreachable:
        return refuse_by(turn, Reason.TRY_AGAIN)
    if waits and theirs[2:3] == b"1":
        await desk.local_system_answered(barcode, turn.by)
    return Reply({}, body=theirs)


async def _may_be_done(turn: Turn) -> Reply:
    code = turn.message.code
    LOG.warning("sip2.ils_did_not_answer", code=code)
    await turn.door.desk.tell_local_system_later(_message(turn, UNSURE[code]), turn.by)
    return _with_text(refuse_by(turn, Reason.TRY_AGAIN), tell(News.NO_ANSWER, turn.language()))


async def _reached(turn: Turn, beyond: Beyond) -> bytes | None:
    """Returns the body of the local system's reply to this line; None if none came."""
    try:
        return await _exchanged(turn, beyond, _asked(turn))
    except Unreachable:
        return None


async def _tried(turn: Turn, beyond: Beyond) -> tuple[bytes | None, bool]:
    """Returns the same, and whether the local system may have received the message although no reply came."""
    try:
        return await _exchanged(turn, beyond, _asked(turn)), False
    except Unreachable as lost:
        return None, isinstance(lost, HungUp | Unanswered)


async def _said(turn: Turn, beyond: Beyond, body: bytes) -> Message | None:
    try:
        return _taken_apart(await _exchanged(turn, beyond, body), turn)
    except Unreachable:
        return None


async def _exchanged(turn: Turn, beyond: Beyond, body: bytes) -> bytes:
    """The body of their answer. Raises Unreachable; a hang-up is counted as that of this terminal's message."""
    here, there = turn.session.dialect, beyond.dialect
    try:
        return _across(await beyond(_across(_blanked(body, here), here, there)), there, here)
    except HungUp:
        code = turn.message.code
        turn.door.metrics.ils_hang_ups.labels(turn.terminal.login, code).inc()
        LOG.warning("sip2.ils_hung_up", code=code, asked=body[:2].decode("latin-1"))
        raise


def _taken_apart(body: bytes, turn: Turn) -> Message | None:
    """Their answer as a message; None where it is too short for one, and can only be passed on."""
    try:
        return decode(body, turn.session.dialect)
    except BadMessage:
        return None


def _asked(turn: Turn) -> bytes:
    """Returns the terminal's line as it is relayed; "no block" is kept only if the terminal may work off line."""
    body = body_of(turn.message.line, turn.session.dialect.delimiter)
    if turn.says("no_block") and not turn.no_block:
        return grafted(body, {"no_block": "N"}, (), turn.session.dialect)
    return body


def _across(body: bytes, one: Dialect, other: Dialect) -> bytes:
    """A body as the other side writes it: every byte as it is, unless the two differ in alphabet or delimiter."""
    if (one.encoding, one.delimiter) == (other.encoding, other.delimiter):
        return body
    text = body.decode(one.encoding, "replace")
    if one.delimiter != other.delimiter:  # an ordinary character here must not end a field there
        text = text.replace(other.delimiter, " ").replace(one.delimiter, other.delimiter)
    return text.encode(other.encoding, "replace")


def _blanked(body: bytes, dialect: Dialect) -> bytes:
    """Returns a body with blanks for all controls and for all line ends of any system; the rest is unchanged."""
    text = body.decode(dialect.encoding, "surrogateescape")
    if text.isprintable():
        return body
    return _CONTROLS.sub(" ", text).encode(dialect.encoding, "surrogateescape")


_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\udc80-\udc9f]")
"""C0, C1 (NEL among them) and Unicode's line ends; bytes of C1 that are no character of the dialect's alphabet."""


def _with_text(ours: Reply, text: str) -> Reply:
    return replace(ours, fields={**ours.fields, "AF": (*_texts(ours.fields.get("AF", ())), text)})


def _texts(value: Value) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _number(text: str) -> int:
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else 0


# fmt: off
ROUTES: Final[Mapping[str, Route]] = {
    "01": _both,
    "09": _copy,
    "11": _copy,
    "15": _hold,
    "17": _copy,
    "19": _copy,
    "23": _patron,
    "25": _both,
    "29": _copy,
    "35": _both,
    "37": _pay,
    "63": _patron,
    "65": _renew_all,
    "99": _status,
}
"""The route of each message. A login is handled here; the local system receives it with the first message."""
# fmt: on
