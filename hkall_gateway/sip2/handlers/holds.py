"""Holds at a terminal: for us they are requests to other libraries, placed, changed or taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hkall_gateway.circulation.messages.commands import SeeRecord
from hkall_gateway.circulation.messages.results import LoanEntry, Refused
from hkall_gateway.circulation.messages.terminal_commands import Hold, HoldMode, HoldResult
from hkall_gateway.rules.dates.calendar import civil, end_of
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.sip2.codec.lines import Value
from hkall_gateway.sip2.codec.serialize import as_sent
from hkall_gateway.sip2.exchange import Exchange, Reply, refuse, refuse_by, reply
from hkall_gateway.sip2.handlers.patrons import LISTINGS, line_text
from hkall_gateway.sip2.screen_messages import Notice, notice_text

# fmt: off
MODES: Final[Mapping[str, tuple[HoldMode, Notice]]] = {
    "+": (HoldMode.PLACE,  Notice.HOLD_PLACED),
    "-": (HoldMode.CANCEL, Notice.HOLD_CANCELLED),
    "*": (HoldMode.CHANGE, Notice.HOLD_CHANGED),
}
"""Each hold mode's action, and the message shown when it succeeds. Source: SIP2 2.00, hold mode."""
# fmt: on

THIS_COPY: Final = "3"
"""The hold type of one certain copy. Source: SIP2 2.00, hold type."""


async def hold(exchange: Exchange) -> Reply:
    """16. AB names the title by a copy of ours, else AJ by its name or its number in the union catalogue."""
    asked = exchange.message
    if asked.get("hold_mode") not in MODES or not asked.get("AA") or not (asked.get("AB") or asked.get("AJ")):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if exchange.pin_missing:
        return refuse_by(exchange, Reason.WRONG_PIN)
    mode, notice = MODES[asked.get("hold_mode")]
    outcome = await exchange.services.circulation.execute(await asked_hold(exchange, mode))
    return refuse(exchange, outcome) if isinstance(outcome, Refused) else _held(exchange, outcome, notice)


async def asked_hold(exchange: Exchange, mode: HoldMode) -> Hold:
    """Returns the desk command for a terminal's 15."""
    told = frozenset[str]() if mode is HoldMode.PLACE else await _told_before(exchange)
    asked, last = exchange.message, exchange.instant("BW")
    return Hold(
        by=exchange.by,
        mode=mode,
        card=asked.get("AA"),
        barcode=asked.get("AB"),
        title=asked.get("AJ").strip(),
        pickup_location=asked.get("BS").strip(),
        need_before=civil(last) if last else None,
        this_copy=asked.get("BY").strip() == THIS_COPY,
        told=told,
        pin=exchange.pin,
    )


async def _told_before(exchange: Exchange) -> frozenset[str]:
    """Returns the patron's requests that a list of 64 shows with exactly the text that the terminal now sends in AB or AJ."""
    had = await exchange.services.circulation.execute(SeeRecord(exchange.message.get("AA")))
    sent = [exchange.message.get(tag).strip() for tag in ("AB", "AJ")]
    for text in filter(None, sent):
        if found := frozenset(line.request.id for line in had.lines if text in _as_told(exchange, line)):
            return found
    return frozenset()


def _as_told(exchange: Exchange, line: LoanEntry) -> set[str]:
    """Returns the text of an entry as the lists of 64 send it to this terminal."""
    return {as_sent(row.tag, line_text(exchange, row, line), exchange.session.dialect).strip() for row in LISTINGS}


def _held(exchange: Exchange, held: HoldResult, notice: Notice) -> Reply:
    said: dict[str, Value] = {
        "ok": "1",
        "available": "Y" if held.position is Position.RECEIVED else "N",
        "BW": exchange.date18(end_of(held.need_before) if held.need_before else None),
        "BS": held.pickup_location,
        "AJ": held.title,
        "AF": (notice_text(notice, exchange.language(held.language)),),
    }
    return reply(exchange, said, request=held.request)
