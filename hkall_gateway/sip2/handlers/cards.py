"""Blocking a card at a terminal, and lifting that again."""

from __future__ import annotations

from dataclasses import replace

from hkall_gateway.circulation.messages.commands import SeePatron
from hkall_gateway.circulation.messages.results import PatronSeen, Refused
from hkall_gateway.circulation.messages.terminal_commands import BlockCard, EnableCard
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.sip2.exchange import Exchange, Reply, refuse, refuse_by, reply
from hkall_gateway.sip2.handlers.patrons import lists_of, patron_status_fields


async def block(exchange: Exchange) -> Reply:
    """24. The card is blocked here until a terminal enables it, or staff do; the reply shows it blocked."""
    asked = exchange.message
    if not asked.get("AA"):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    ask = BlockCard(exchange.by, asked.get("AA"), asked.get("AL"), exchange.says("card_retained"))
    outcome = await exchange.services.circulation.execute(ask)
    if isinstance(outcome, Refused):
        return refuse(exchange, outcome)
    seen = await _seen(exchange)
    return reply(exchange, patron_status_fields(exchange, seen, lists_of(seen)))


async def enable(exchange: Exchange) -> Reply:
    """26. Lifts blocks that a terminal set here; the reply shows the blocks that remain, such as the library's own."""
    if not exchange.message.get("AA"):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    ask = EnableCard(exchange.by, exchange.message.get("AA"), exchange.pin)
    outcome = Refused(Reason.WRONG_PIN) if exchange.pin_missing else await exchange.services.circulation.execute(ask)
    if isinstance(outcome, Refused) and outcome.why is not Reason.WRONG_PIN:
        return refuse(exchange, outcome)
    seen = await _seen(exchange)
    if isinstance(outcome, Refused):  # the card is known all the same
        said = patron_status_fields(exchange, seen, lists_of(seen))
        return refuse(exchange, outcome, **{name: said[name] for name in ("patron_status", "AE", "BL", "CQ")})
    return replace(reply(exchange, patron_status_fields(exchange, seen, lists_of(seen))), no=seen.refusal)


async def _seen(exchange: Exchange) -> PatronSeen:
    return await exchange.services.circulation.execute(
        SeePatron(exchange.by, exchange.message.get("AA"), exchange.pin, bool(exchange.pin))
    )
