"""Money taken at a terminal."""

from __future__ import annotations

import re
from typing import Final

from hkall_gateway.circulation.messages.results import Paid, Refused
from hkall_gateway.circulation.messages.staff_commands import Pay
from hkall_gateway.rules.overdue_fine import CURRENCY
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.sip2.exchange import Exchange, Reply, dollars, refuse, refuse_by, reply
from hkall_gateway.sip2.screen_messages import Notice, notice_text

_AMOUNT: Final = re.compile(r"[^\d.,-]*(\d{1,9})(?:[.,](\d{1,2}))?")
"""A sum in dollars: "12", "12.5", "HKD 12.50"; more than two decimals, or a minus, is no sum of money."""


async def pay(exchange: Exchange) -> Reply:
    """38. The same transaction number (BK) of one terminal is taken once, even if the message is repeated.

    CG names one charge, as AV of 64 showed it; without it the oldest are paid first.
    """
    asked = exchange.message
    cents, fine = cents_of(asked.get("BV")), whole_number(asked.get("CG").strip().lstrip("#"))
    if not asked.get("AA") or cents is None:
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if asked.get("CG").strip() and fine is None:
        return refuse_by(exchange, Reason.UNKNOWN_FINE)
    if exchange.pin_missing:
        return refuse_by(exchange, Reason.WRONG_PIN)
    said, own = asked.get("currency_type").strip(), exchange.session.dialect.currency
    currency = CURRENCY if said in ("", own) else said  # the code that this make uses for our currency
    ask = Pay(exchange.by, asked.get("AA"), cents, asked.get("BK").strip(), fine, currency, exchange.pin)
    return _paid(exchange, await exchange.services.circulation.execute(ask))


def cents_of(text: str) -> int | None:
    """Returns the cents in BV; None if it is not an amount."""
    found = _AMOUNT.fullmatch(text.strip())
    return int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0")) if found else None


def _paid(exchange: Exchange, outcome: Paid | Refused) -> Reply:
    number = exchange.message.get("BK")
    if isinstance(outcome, Refused):
        return refuse(exchange, outcome, BK=number)
    texts = (notice_text(Notice.PAID, exchange.language(), **_sums(exchange, outcome)),)
    return reply(exchange, {"payment_accepted": "Y", "BK": number, "AF": texts})


def _sums(exchange: Exchange, paid: Paid) -> dict[str, str]:
    return {"paid": dollars(paid.cents), "owed": dollars(paid.owed_cents), "currency": exchange.session.dialect.currency}
