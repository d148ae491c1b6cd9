"""The kinds of letters to patrons: occasions, policy keys, protection against duplicates, and conditions for sending.

All letters go to the patron of the request. A step of the life cycle (`lifecycle.TABLE`) or a call of `unit.enqueue` sends
them. Each kind has a template per language in `delivery/templates`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, partial
from types import MappingProxyType
from typing import Final

from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PatronNotice
from hkall_gateway.rules.settings import Notices
from hkall_gateway.rules.vocabulary import Position, Request

P = Position
S = Notification

Occasion = Callable[[Request, Request], object]
"""Takes the request after and before the event. One letter is sent for each distinct result; None means one per request."""


REVOKED_BY: Final[Mapping[str, Notification]] = MappingProxyType(
    {S.LETTER_RECALLED: S.LETTER_RECALL_CANCELLED, S.LETTER_RECALL_CANCELLED: S.LETTER_RECALLED}
)
"""Maps a kind of letter to the kind that revokes it, after which a letter may be sent for the same occasion again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierLetter:
    """A letter about the same request that has arrived, or may have arrived.

    Attributes:
        kind: Value of Notification.
        occasion: Its occasion in the register of letters.
        is_certain: Whether it was sent for certain. If not, the patron may or may not have it.
    """

    kind: str
    occasion: str
    is_certain: bool


Stands = Callable[[PatronNotice, Request, Sequence[EarlierLetter]], bool]
"""Takes a letter, the current request and the earlier letters, oldest first. Returns whether the letter is still news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterKind:
    """One kind of letter.

    Attributes:
        when: Sentence with the rule, for docs/letters.md.
        notice: Key in the policy's `[notices]` that enables the letter.
        once_for: Returns the occasion. Only one letter is written for each occasion, even if the event is repeated. Its text is
            stored, and must therefore not change between releases.
        true_while: Condition that must hold when the letter is about to be sent.
        asks_back: Whether the letter asks for the book, and so is not written while the book is in the book drop.
        of_the_former_lender: Whether the letter names the lender from before the event.
    """

    send: Notification
    when: str
    notice: str
    once_for: Occasion
    true_while: Stands
    asks_back: bool = False
    of_the_former_lender: bool = False

    @property
    def template(self) -> str:
        """Return the name of the templates, for use in `{template}.{language}.txt`."""
        return self.send.value.removeprefix("letter_")


def _recalled_again(after: Request, before: Request) -> object:
    """Return the occasion of a recall letter, which differs for another due date and after a cancelled recall."""
    again = f" after {before.recall_cancelled_on}" if before.recall_cancelled_on else ""
    return f"{after.recalled_on} {after.due}{again}"


def _recalls_until(due: date | None, letter: EarlierLetter | None) -> bool:
    """Return whether a letter is a recall that names this due date. Its occasion names it as the second word."""
    return letter is not None and letter.kind == S.LETTER_RECALLED and letter.occasion.split(" ")[1:2] == [str(due)]


def _while_at(position: Position, _letter: PatronNotice, request: Request, _earlier: Sequence[EarlierLetter]) -> bool:
    return request.position is position


def _while_collectable(_letter: PatronNotice, request: Request, _earlier: Sequence[EarlierLetter]) -> bool:
    return request.position is P.RECEIVED and not request.expired_pickup


def _is_in_hand(request: Request) -> bool:
    """Return whether the patron has the book, and nobody says that it is lost or was returned."""
    is_missing = request.lost_on is not None or request.claimed_on is not None
    return request.position is P.ON_LOAN and not is_missing


def _while_due(letter: PatronNotice, request: Request, *_earlier: Sequence[EarlierLetter]) -> bool:
    return _is_in_hand(request) and request.due == letter.due


def _while_recalled(letter: PatronNotice, request: Request, earlier: Sequence[EarlierLetter]) -> bool:
    """Return whether a recall letter is still true, and says what the patron does not know.

    If the due date has become earlier, another letter will state it. If the recall was cancelled
    and came again for the same date before a letter left, the patron has read of it (R24).
    """
    if not _is_in_hand(request) or request.recalled_on is None:
        return False
    if letter.due is not None and request.due is not None and request.due < letter.due:
        return False
    return any(not _recalls_until(request.due, letter) for letter in _last_word_about_the_recall(earlier))


def _while_recall_is_off(_letter: PatronNotice, request: Request, earlier: Sequence[EarlierLetter]) -> bool:
    """Return whether a letter about a cancelled recall is still true, and the patron has read of the recall."""
    if not _is_in_hand(request) or request.recalled_on is not None:
        return False
    last_letters = _last_word_about_the_recall(earlier)
    return any(letter is not None and letter.kind == S.LETTER_RECALLED for letter in last_letters)


def _last_word_about_the_recall(
    earlier: Sequence[EarlierLetter],
) -> Sequence[EarlierLetter | None]:
    """Return each letter that may be the last about the recall that the patron has; None for no letter at all.

    A letter that perhaps arrived leaves open whether the one before it still is the last.
    """
    candidates: list[EarlierLetter | None] = []
    for letter in reversed(earlier):
        if letter.kind in REVOKED_BY:
            candidates.append(letter)
            if letter.is_certain:
                return candidates
    return [*candidates, None]


_ROWS: Final = (
    LetterKind(
        send=S.LETTER_PICKUP,
        when="The book has arrived (R12).",
        notice="pickup",
        once_for=lambda after, _: after.received_on,
        true_while=partial(_while_at, P.RECEIVED),
    ),
    LetterKind(
        send=S.LETTER_PICKUP_REMINDER,
        when="The last day to collect the book is tomorrow (R14).",
        notice="pickup_reminder",
        once_for=lambda after, _: after.pickup_last,
        true_while=_while_collectable,
    ),
    LetterKind(
        send=S.LETTER_RECALLED,
        when="The lender wants the book back from a patron who has it (R24).",
        notice="recall",
        once_for=_recalled_again,
        true_while=_while_recalled,
        asks_back=True,
    ),
    LetterKind(
        send=S.LETTER_RECALL_CANCELLED,
        when="The lender takes a recall back of which the patron has had a letter (R26).",
        notice="recall",
        once_for=lambda after, _: f"{after.recall_was_on} {after.recall_cancelled_on} {after.due}",
        true_while=_while_recall_is_off,
    ),
    LetterKind(
        send=S.LETTER_OVERDUE,
        when="The loan period is over (R39).",
        notice="overdue",
        once_for=lambda after, _: after.overdue_notice_for,
        true_while=_while_due,
        asks_back=True,
    ),
    LetterKind(
        send=S.LETTER_RENEWAL_DENIED,
        when="The lender was asked for a renewal and says no, or takes one back (R28).",
        notice="renewal_denied",
        once_for=lambda after, _: after.due,
        true_while=_while_due,
    ),
    LetterKind(
        send=S.LETTER_UNFILLED,
        when="No library can lend it (R38).",
        notice="cancelled_final",
        once_for=lambda *_: None,
        true_while=partial(_while_at, P.UNFILLED),
        of_the_former_lender=True,
    ),
    LetterKind(
        send=S.LETTER_DECLINED,
        when="One library of several said no, and the next is asked (R38).",
        notice="each_decline",
        once_for=lambda after, _: after.attempt,
        true_while=partial(_while_at, P.REQUESTED),
        of_the_former_lender=True,
    ),
    LetterKind(
        send=S.LETTER_POSTPONED,
        when="A library said no while requests are suspended, and no other is asked until they are not (R1).",
        notice="postponed",
        once_for=lambda after, _: after.attempt,
        true_while=partial(_while_at, P.NEW),
    ),
    LetterKind(
        send=S.LETTER_EXPIRED,
        when="The days to collect are over (R15).",
        notice="pickup_expired",
        once_for=lambda after, _: after.pickup_last,
        true_while=lambda _letter, request, _earlier: request.expired_pickup and not request.used,
    ),
)

LETTERS: Final[Mapping[Notification, LetterKind]] = {row.send: row for row in _ROWS}


@cache
def silent(notices: Notices) -> frozenset[Notification]:
    """Return the kinds of letters that the policy disables."""
    return frozenset(row.send for row in _ROWS if not getattr(notices, row.notice))


def rests(send: Notification, about: Request) -> bool:
    """Check whether a letter is withheld because the book is in the book drop. Source: HKALL rules R17, R39."""
    return about.dropped_on is not None and LETTERS[send].asks_back


def reason_stands(letter: PatronNotice, request: Request, earlier: Sequence[EarlierLetter]) -> bool:
    """Check whether a letter is still true and news to the patron, and so may be sent.

    Args:
        letter: The letter that is about to be sent.
        request: The request as it is now.
        earlier: Letters about the request that have or may have arrived, oldest first.
    """
    send = Notification(letter.send)
    return not rests(send, request) and LETTERS[send].true_while(letter, request, earlier)


def occasion(send: Notification, about: Request, before: Request) -> str:
    """Return the occasion of a letter as stored in the register of letters, which prevents duplicates."""
    value = LETTERS[send].once_for(about, before)
    return "" if value is None else str(value)


def letter(send: Notification, about: Request, before: Request, now: datetime, notice: int) -> PatronNotice:
    """Build the letter that a step sends to the patron. `notice` is the id of the letter in the register of letters."""
    lender = before if LETTERS[send].of_the_former_lender else about
    return PatronNotice(
        send=send.value,
        request=about.id,
        patron=about.patron,
        title=about.full_title,
        at=now,
        notice=notice,
        due=about.due,
        old_due=before.due,
        pickup_location=about.pickup_location,
        reason=about.reason,
        recalled=about.recalled_on is not None,
        lender=lender.partner,
    )
