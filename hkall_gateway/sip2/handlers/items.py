"""Handlers for holds, item information and item status updates."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

from hkall_gateway.circulation.cards import Hold, HoldMode, NoteProperties
from hkall_gateway.circulation.queries import ItemSeen, SeeItem, SeeRecord
from hkall_gateway.circulation.results import Refused
from hkall_gateway.rules.dates import civil, end_of, start_of
from hkall_gateway.rules.positions import EXPECTED_OR_ON_SHELF
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words.availability import circulation_status
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.sip2.codec.body import value_as_sent
from hkall_gateway.sip2.codec.lines import Value
from hkall_gateway.sip2.exchange import Exchange, Reply, refuse, refuse_by, reply
from hkall_gateway.sip2.handlers.patrons import LISTINGS, entry_text
from hkall_gateway.sip2.screen_messages import Notice, notice_text

# fmt: off
MODES: Final[Mapping[str, tuple[HoldMode, Notice]]] = {
    "+": (HoldMode.PLACE,  Notice.HOLD_PLACED),
    "-": (HoldMode.CANCEL, Notice.HOLD_CANCELLED),
    "*": (HoldMode.CHANGE, Notice.HOLD_CHANGED),
}
"""The action for each hold mode, and the screen message for success. Source: SIP2 2.00, hold mode."""
# fmt: on

THIS_COPY: Final = "3"
"""The hold type for one specific copy. Source: SIP2 2.00, hold type."""


async def hold(exchange: Exchange) -> Reply:
    """Answer a Hold (15) with a 16. AB is one of our barcodes; without AB, AJ is a title or union catalogue number."""
    message = exchange.message
    if message.get("hold_mode") not in MODES or not message.get("AA") or not (message.get("AB") or message.get("AJ")):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if exchange.pin_missing:
        return refuse_by(exchange, Reason.WRONG_PIN)
    mode, notice = MODES[message.get("hold_mode")]
    outcome = await exchange.services.circulation.execute(await hold_command(exchange, mode))
    if isinstance(outcome, Refused):
        return refuse(exchange, outcome)
    fields: dict[str, Value] = {
        "ok": "1",
        "available": "Y" if outcome.position is Position.RECEIVED else "N",
        "BW": exchange.date18(end_of(outcome.need_before) if outcome.need_before else None),
        "BS": outcome.pickup_location,
        "AJ": outcome.title,
        "AF": (notice_text(notice, exchange.language(outcome.language)),),
    }
    return reply(exchange, fields, request=outcome.request)


async def hold_command(exchange: Exchange, mode: HoldMode) -> Hold:
    """Build the command for a Hold (15)."""
    listed = frozenset[str]() if mode is HoldMode.PLACE else await _find_listed(exchange)
    message, last = exchange.message, exchange.instant("BW")
    return Hold(
        by=exchange.by,
        mode=mode,
        card=message.get("AA"),
        barcode=message.get("AB"),
        title=message.get("AJ").strip(),
        pickup_location=message.get("BS").strip(),
        need_before=civil(last) if last else None,
        this_copy=message.get("BY").strip() == THIS_COPY,
        request_ids=listed,
        pin=exchange.pin,
    )


async def _find_listed(exchange: Exchange) -> frozenset[str]:
    """Return the ids of the patron's requests whose entry in a patron information response (64) equals AB or AJ."""
    record = await exchange.services.circulation.execute(SeeRecord(exchange.message.get("AA")))
    shown = {
        line.request.id: {
            value_as_sent(row.tag, entry_text(exchange, row, line), exchange.session.dialect).strip() for row in LISTINGS
        }
        for line in record.lines
    }
    for text in filter(None, (exchange.message.get(tag).strip() for tag in ("AB", "AJ"))):
        if found := frozenset(number for number, texts in shown.items() if text in texts):
            return found
    return frozenset()


P = Position

_TABLES: Final[dict[str, dict[str, str]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
AT_POSITION: Final = {Position[position]: status for position, status in _TABLES["positions"].items()}
ON_SHELF: Final[Mapping[str, str]] = _TABLES["statuses"]
"""The circulation status of a copy without an open request, by NCIP's CirculationStatus in lower case."""

"""Positions in which a patron is waiting for the copy. HKALL books have no hold queue (R22)."""

NO_COPY: Final = frozenset({"", "00", "01"})
"""Circulation statuses that systems return for an unknown barcode."""
OUT: Final = frozenset({"04", "05", "07", "11", "12"})
"""Circulation statuses of a copy that is not in the library: on loan, recalled, claimed, lost."""
OTHER: Final = "01"
CHARGED: Final = "04"
IN_TRANSIT: Final = "10"


async def item_information(exchange: Exchange) -> Reply:
    """Answer Item Information (17) with an 18. The reply never names a hold's patron, since anybody can scan a book."""
    seen = await exchange.services.circulation.execute(SeeItem(by=exchange.by, barcode=exchange.message.get("AB")))
    if not isinstance(seen, ItemSeen):
        return refuse(exchange, seen)
    status = circulation(seen, civil(exchange.now))
    waits = seen.pickup_last if seen.position is P.RECEIVED else None
    fields = {
        "circulation_status": status,
        "fee_type": "01",
        "AJ": seen.title,
        "AH": exchange.due(seen.due),
        "CF": "1" if seen.position in EXPECTED_OR_ON_SHELF else "0",
        "CJ": exchange.date18(start_of(seen.recalled_on) if seen.recalled_on else None),
        "CM": exchange.date18(end_of(waits) if waits else None),
        "BG": seen.owner,
        "AQ": seen.owner,
        "CK": "001",
        "CT": seen.destination if status == IN_TRANSIT else "",
        "CS": seen.call_number,
        "CH": seen.properties,
        "AP": exchange.terminal.location if seen.position is P.RECEIVED else "",
    }
    return reply(exchange, fields, request=seen.request)


async def item_status_update(exchange: Exchange) -> Reply:
    """Answer an Item Status Update (19) with a 20: store the item's properties (CH), which 18 and 10 return."""
    message = exchange.message
    if not message.get("AB"):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    outcome = await exchange.services.circulation.execute(
        NoteProperties(by=exchange.by, barcode=message.get("AB"), text=message.get("CH"))
    )
    if isinstance(outcome, Refused):
        return refuse(exchange, outcome, CH=message.get("CH"))
    return reply(exchange, {"item_properties_ok": "1", "AJ": outcome.title, "CH": outcome.text})


def circulation(seen: ItemSeen, today: date) -> str:
    """Return the SIP2 circulation status, such as 05 for a loan that cannot be recalled yet (R24) or 07 if recalled (R25)."""
    if seen.lost or seen.claimed:
        return "12" if seen.lost else "11"
    if seen.position is None:
        return ON_SHELF.get(circulation_status(seen.status).lower(), OTHER)
    status = AT_POSITION.get(seen.position, OTHER)
    if status != CHARGED:
        return status
    if seen.recalled_on:
        return "07"
    return "05" if seen.earliest_recall and today < seen.earliest_recall else CHARGED
