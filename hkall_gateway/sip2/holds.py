"""Holds at a terminal: for us they are requests to other libraries, placed, changed or taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hkall_gateway.desk.messages.results import LoanEntry, Refused
from hkall_gateway.desk.messages.terminal_commands import Held, Hold, HoldMode
from hkall_gateway.rules.dates.calendar import civil, end_of
from hkall_gateway.rules.vocabulary import Position, Reason
from hkall_gateway.sip2.codec import Value
from hkall_gateway.sip2.patrons import LISTINGS, line_text
from hkall_gateway.sip2.turns import Reply, Turn, refuse, refuse_by, reply
from hkall_gateway.sip2.words import News, tell
from hkall_gateway.sip2.writing import as_sent

# fmt: off
MODES: Final[Mapping[str, tuple[HoldMode, News]]] = {
    "+": (HoldMode.PLACE,  News.HOLD_PLACED),
    "-": (HoldMode.CANCEL, News.HOLD_CANCELLED),
    "*": (HoldMode.CHANGE, News.HOLD_CHANGED),
}
"""Each hold mode's action, and the message shown when it succeeds. Source: SIP2 2.00, hold mode."""
# fmt: on

THIS_COPY: Final = "3"
"""The hold type of one certain copy. Source: SIP2 2.00, hold type."""


async def hold(turn: Turn) -> Reply:
    """16. AB names the title by a copy of ours, else AJ by its name or its number in the union catalogue."""
    asked = turn.message
    if asked.get("hold_mode") not in MODES or not asked.get("AA") or not (asked.get("AB") or asked.get("AJ")):
        return refuse_by(turn, Reason.UNUSABLE_MESSAGE)
    if turn.pin_missing:
        return refuse_by(turn, Reason.WRONG_PIN)
    mode, news = MODES[asked.get("hold_mode")]
    outcome = await turn.door.desk.hold(await asked_hold(turn, mode))
    return refuse(turn, outcome) if isinstance(outcome, Refused) else _held(turn, outcome, news)


async def asked_hold(turn: Turn, mode: HoldMode) -> Hold:
    """Returns the desk command for a terminal's 15."""
    told = frozenset[str]() if mode is HoldMode.PLACE else await _told_before(turn)
    asked, last = turn.message, turn.instant("BW")
    return Hold(
        by=turn.by,
        mode=mode,
        card=asked.get("AA"),
        barcode=asked.get("AB"),
        title=asked.get("AJ").strip(),
        pickup_location=asked.get("BS").strip(),
        need_before=civil(last) if last else None,
        this_copy=asked.get("BY").strip() == THIS_COPY,
        told=told,
        pin=turn.pin,
    )


async def _told_before(turn: Turn) -> frozenset[str]:
    """Returns the patron's requests that a list of 64 shows with exactly the text that the terminal now sends in AB or AJ."""
    had = await turn.door.desk.had(turn.message.get("AA"))
    sent = [turn.message.get(tag).strip() for tag in ("AB", "AJ")]
    for text in filter(None, sent):
        if found := frozenset(line.request.id for line in had.lines if text in _as_told(turn, line)):
            return found
    return frozenset()


def _as_told(turn: Turn, line: LoanEntry) -> set[str]:
    """Returns the text of an entry as the lists of 64 send it to this terminal."""
    return {as_sent(row.tag, line_text(turn, row, line), turn.session.dialect).strip() for row in LISTINGS}


def _held(turn: Turn, held: Held, news: News) -> Reply:
    said: dict[str, Value] = {
        "ok": "1",
        "available": "Y" if held.position is Position.RECEIVED else "N",
        "BW": turn.date18(end_of(held.need_before) if held.need_before else None),
        "BS": held.pickup_location,
        "AJ": held.title,
        "AF": (tell(news, turn.language(held.language)),),
    }
    return reply(turn, said, request=held.request)
