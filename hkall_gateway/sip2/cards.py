"""Blocking a card at a terminal, and lifting that again."""

from __future__ import annotations

from dataclasses import replace

from hkall_gateway.desk.messages.commands import SeePatron
from hkall_gateway.desk.messages.results import PatronSeen, Refused
from hkall_gateway.desk.messages.terminal_commands import BlockCard, EnableCard
from hkall_gateway.rules.vocabulary import Reason
from hkall_gateway.sip2.patrons import lists_of, standing
from hkall_gateway.sip2.turns import Reply, Turn, refuse, refuse_by, reply


async def block(turn: Turn) -> Reply:
    """24. The card is blocked here until a terminal enables it, or staff do; the reply shows it blocked."""
    asked = turn.message
    if not asked.get("AA"):
        return refuse_by(turn, Reason.UNUSABLE_MESSAGE)
    ask = BlockCard(turn.by, asked.get("AA"), asked.get("AL"), turn.says("card_retained"))
    outcome = await turn.door.desk.block_card(ask)
    if isinstance(outcome, Refused):
        return refuse(turn, outcome)
    seen = await _seen(turn)
    return reply(turn, standing(turn, seen, lists_of(seen)))


async def enable(turn: Turn) -> Reply:
    """26. Lifts blocks that a terminal set here; the reply shows the blocks that remain, such as the library's own."""
    if not turn.message.get("AA"):
        return refuse_by(turn, Reason.UNUSABLE_MESSAGE)
    ask = EnableCard(turn.by, turn.message.get("AA"), turn.pin)
    outcome = Refused(Reason.WRONG_PIN) if turn.pin_missing else await turn.door.desk.enable_card(ask)
    if isinstance(outcome, Refused) and outcome.why is not Reason.WRONG_PIN:
        return refuse(turn, outcome)
    seen = await _seen(turn)
    if isinstance(outcome, Refused):  # the card is known all the same
        said = standing(turn, seen, lists_of(seen))
        return refuse(turn, outcome, **{name: said[name] for name in ("patron_status", "AE", "BL", "CQ")})
    return replace(reply(turn, standing(turn, seen, lists_of(seen))), no=seen.refusal)


async def _seen(turn: Turn) -> PatronSeen:
    return await turn.door.desk.see_patron(SeePatron(turn.by, turn.message.get("AA"), turn.pin, bool(turn.pin)))
