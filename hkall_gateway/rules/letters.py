"""Whether a letter is still true when it leaves: one row a kind. One whose reason is gone is not sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.tidings import Letter, rests
from hkall_gateway.rules.vocabulary import Position, Request

P = Position
Stands = Callable[[Letter, Request, Collection[str]], bool]
"""(the letter, the request as it stands now, the kinds of letters about it that have left) -> whether it is still true."""


def reason_stands(letter: Letter, request: Request, left: Collection[str]) -> bool:
    """Whether what a letter says is still so, and may be said. `left` are the kinds of letters about it that have left."""
    send = Send(letter.send)
    return not rests(send, request) and STANDS[send](letter, request, left)


def _recalled(letter: Letter, request: Request, _left: Collection[str]) -> bool:
    """A second recall with an earlier date has a letter of its own; a later date is told instead of the one it had."""
    known = letter.due is None or request.due is None or request.due >= letter.due
    return request.position is P.ON_LOAN and request.recalled_on is not None and known


def _overdue(letter: Letter, request: Request, _left: Collection[str]) -> bool:
    """A book that was renewed, lost, or claimed to be back is not asked for."""
    missed = request.claimed_on is None and request.lost_on is None
    return request.position is P.ON_LOAN and request.due == letter.due and missed


def _recall_cancelled(_letter: Letter, request: Request, left: Collection[str]) -> bool:
    """Only a person who has read of the recall needs to hear that it is over."""
    return request.position is P.ON_LOAN and request.recalled_on is None and Send.LETTER_RECALLED.value in left


# fmt: off
STANDS: Final[Mapping[Send, Stands]] = {
    Send.LETTER_PICKUP:           lambda _letter, request, _left: request.position is P.RECEIVED,
    Send.LETTER_EXPIRED:          lambda _letter, request, _left: request.expired_pickup and not request.used,
    Send.LETTER_DECLINED:         lambda _letter, request, _left: request.position is P.REQUESTED,
    Send.LETTER_UNFILLED:         lambda _letter, request, _left: request.position is P.UNFILLED,
    Send.LETTER_RECALLED:         _recalled,
    Send.LETTER_RECALL_CANCELLED: _recall_cancelled,
    Send.LETTER_OVERDUE:          _overdue,
    Send.LETTER_RENEWAL_DENIED:   lambda letter, request, _left: request.position is P.ON_LOAN and request.due == letter.due,
}
# fmt: on
