"""What the desk, the rules and the store say to staff in English, in the language of the page: by tables, never by a new text.

A text is a phrase of PHRASES, or such a phrase in front of a detail ("declined: not on the shelf"), or a measure with its value
("priority 10"), or several of them with commas between. What no table has stays as it is, as a later release may write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.losses import NO_PRICE_KNOWN, NOT_THEIRS, PRICED_BEFORE
from hkall_gateway.rules.lender_reasons import LENDER_REASONS, reason_label
from hkall_gateway.rules.lenders import SPARE
from hkall_gateway.rules.stored_words import CandidateOutcome
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web.i18n import N_, gettext, language
from hkall_gateway.web.labels import POSITIONS
from hkall_gateway.web.staff.history_words import STATES

# fmt: off
PHRASES: Final[Mapping[str, str]] = MappingProxyType({
    # Copies that are not asked for: `passed_over` of rules/lenders.py.
    "our own copy":      N_("our own copy"),
    "not a partner":     N_("not a partner"),
    "with us":           N_("with us"),
    "already asked":     N_("already asked"),
    "does not lend":     N_("does not lend"),
    "cannot be reached": N_("cannot be reached"),
    "another volume":    N_("another volume"),
    "not lendable":      N_("not lendable"),
    "none":              N_("none"),
    SPARE:               N_("another copy of this library is asked for"),
    # Ranks.
    "closed tomorrow":              N_("closed tomorrow"),
    "asked for by another request": N_("asked for by another request"),
    # Answers of lenders.
    CandidateOutcome.ACCEPTED: N_("accepted"),
    CandidateOutcome.DECLINED: N_("declined"),
    CandidateOutcome.REFUSED:  N_("refused"),
    # Losses.
    NO_PRICE_KNOWN: N_("Nothing is charged for the book, since no price is known. Say it later by the same command."),
    PRICED_BEFORE:  N_("Nothing more is charged: a price was charged before."),
    NOT_THEIRS:     N_("Nothing is charged: the patron does not answer for it."),
    # Rows that an erasure leaves.
    "request":     N_("Request"),
    "patron":      N_("Patron"),
    "former_card": N_("Former card"),
    "message":     N_("Message"),
    "quarantine":  N_("Fits no request"),
    "card_block":  N_("Card blocked"),
    "fine":        N_("Money"),
    "archive":     N_("Archive"),
    "it has not ended":                      N_("it has not ended"),
    "money is open":                         N_("money is open"),
    "the patron claims to have returned it": N_("the patron says that it was returned"),
    "a message about it is not sent yet":    N_("a message about it is not sent yet"),
    "open matters need name and address":    N_("open matters need name and address"),
    "open matters are found by it too":      N_("open matters are found by it too"),
    "it is not sent yet":                    N_("it is not sent yet"),
    "it waits to be judged":                 N_("it waits to be judged"),
    "a terminal blocked the card":           N_("a terminal blocked the card"),
    "it is not here":                        N_("it is not here"),
})
MEASURES: Final[Mapping[str, str]] = MappingProxyType({
    "priority":        N_("priority"),
    "balance":         N_("balance"),
    "declines":        N_("declines"),
    "suspended until": N_("suspended until"),
    "closed":          N_("closed"),
    "material":        N_("material"),
    "status":          N_("status"),
})
"""Phrases in front of a value, with a space between."""
ENDS: Final[Mapping[str, str]] = MappingProxyType({
    "request":     N_("Its end, and what is owed for it."),
    "patron":      N_("Erase once more when it is settled."),
    "former_card": N_("Erase once more when it is settled."),
    "message":     N_("It is sent, or a supervisor settles it."),
    "quarantine":  N_("A supervisor settles it."),
    "card_block":  N_("A terminal lifts it (SIP2 25)."),
    "fine":        N_("It is paid or waived."),
    "archive":     N_("Erase on the command line, where the file is."),
})
"""What ends a row that an erasure leaves, by its kind."""
# fmt: on


def in_words(text: str) -> str:
    """Return a text of the desk in the language of this request."""
    if text in LENDER_REASONS:
        label = reason_label(text, language())
        return f"{label[:1].lower()}{label[1:]}"
    if text in PHRASES:
        return gettext(PHRASES[text])
    if text in POSITIONS:
        return gettext(POSITIONS[text])
    if text in STATES:
        return gettext(STATES[text][0])
    colon, comma = ("：", "，") if language() == CHINESE else (": ", ", ")
    head, found, detail = text.partition(": ")
    if found:
        return f"{in_words(head)}{colon}{in_words(detail)}"
    if ", " in text:
        return comma.join(map(in_words, text.split(", ")))
    measure = next((one for one in MEASURES if text.startswith(f"{one} ")), "")
    return f"{gettext(measure)} {text[len(measure) + 1 :]}" if measure else text
