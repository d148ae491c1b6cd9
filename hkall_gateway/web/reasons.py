"""Words for refusals and for results of commands, as staff at the counter need them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Final

from hkall_gateway.desk.messages.results import Refused
from hkall_gateway.rules.vocabulary import RULES, Reason
from hkall_gateway.web.i18n import N_, day, gettext
from hkall_gateway.web.labels import POSITIONS

UNKNOWN: Final = "…"
"""Stands for a value that a refusal does not have."""

# fmt: off
REASONS: Final[Mapping[Reason, str]] = MappingProxyType({
    # The patron.
    Reason.SERVICE_SUSPENDED:            N_("HKALL is suspended until {end}."),
    Reason.UNKNOWN_BORROWER:             N_("This card is not known."),
    Reason.CARD_REPLACED:                N_("This card was replaced by another one."),
    Reason.WRONG_PIN:                    N_("The PIN is missing or wrong."),
    Reason.NOT_ELIGIBLE:                 N_("The patron's category may not use HKALL."),
    Reason.NOT_ELIGIBLE_PART_TIME_SPACE: N_("Part-time HKU SPACE students may not use HKALL."),
    Reason.ELIGIBILITY_UNKNOWN:          N_("It is not known whether the patron may use HKALL."),
    Reason.PATRON_EXPIRED:               N_("The card expired on {expires}."),
    Reason.PATRON_BLOCKED:               N_("The card is blocked."),
    # The request.
    Reason.PICKUP_LOCATION:              N_("Books can be collected at {place} only."),
    Reason.MATERIAL_NOT_REQUESTABLE:     N_("Only books can be requested."),
    Reason.UNKNOWN_TITLE:                N_("This title is not known."),
    Reason.AVAILABLE_LOCALLY:            N_("A copy is on our own shelf."),
    Reason.AVAILABILITY_UNKNOWN:         N_("It is not known whether our own copy is on the shelf."),
    Reason.NO_AVAILABLE_COPY:            N_("No library has a copy to lend now."),
    Reason.DUPLICATE_REQUEST:            N_("The patron has requested this title already."),
    Reason.QUOTA_HKALL:                  N_("The patron has all the {limit} HKALL books allowed."),
    Reason.QUOTA_TOTAL:                  N_("The patron has all the {limit} books allowed."),
    Reason.QUOTA_UNKNOWN:                N_("It is not known how many books the patron has."),
    Reason.HOLDS_NOT_ALLOWED:            N_("HKALL books cannot be put on hold."),
    # The hold shelf and the counter.
    Reason.NOT_REQUESTER:                N_("Another patron requested this book."),
    Reason.NOT_YET_ARRIVED:              N_("This book has not arrived yet."),
    Reason.PICKUP_EXPIRED:               N_("The last day to collect was {pickup_last}."),
    Reason.COUNTER_ONLY:                 N_("HKALL books are handled at the counter {place} only."),
    Reason.NOT_IN_BOOK_DROP:             N_("HKALL books do not go into the book drop."),
    Reason.AMBIGUOUS_ITEM:               N_("More than one book has this barcode. Name its library."),
    Reason.UNKNOWN_ITEM:                 N_("No HKALL request has this copy."),
    Reason.BELONGS_ELSEWHERE:            N_("It belongs to {owner}, and nobody waits for it here. Send it home."),
    Reason.UNKNOWN_REQUEST:              N_("There is no such request."),
    # On loan.
    Reason.NOT_ON_LOAN:                  N_("This book is not on loan."),
    Reason.ON_LOAN_TO_ANOTHER:           N_("This book is on loan to another patron."),
    Reason.RENEWAL_LIMIT:                N_("Renewed {limit} times already; due on {due}."),
    Reason.RENEWAL_TOO_SOON:             N_("It can be renewed from {from} on; due on {due}."),
    Reason.RENEWAL_OVERDUE:              N_("Overdue since {due}."),
    Reason.RENEWAL_DENIED:               N_("The lender does not renew; due on {due}."),
    Reason.RECALLED:                     N_("Recalled by its owner; due on {due}."),
    # The request and the partners.
    Reason.TOO_LATE_TO_CANCEL:           N_("Too late to cancel: {position}."),
    Reason.ALREADY_SHIPPED:              N_("The book has left already."),
    Reason.AGENCY_NOT_OWNER:             N_("The copy belongs to another library, or its owner was not asked."),
    Reason.NOT_THEIR_COPY:               N_("This copy belongs to another library."),
    Reason.CONTRADICTS_US:               N_("Our own record says otherwise."),
    Reason.AGENCY_NOT_ALLOWED:           N_("This library may not do this."),
    Reason.ITEM_NOT_LENDABLE:            N_("This copy is not lent."),
    Reason.LENDING_SUSPENDED:            N_("Lending is suspended until {end}."),
    Reason.WRONG_POSITION:               N_("Not possible where it stands now: {position}."),
    # Payments and messages.
    Reason.FEE_NOT_ACKNOWLEDGED:         N_("A fee of HK${fee} is due."),
    Reason.NOT_OWED:                     N_("Not taken: HK${owed} is owed."),
    Reason.TRANSACTION_REUSED:           N_("Not taken: another payment has this number."),
    Reason.UNKNOWN_FINE:                 N_("There is no such fee."),
    Reason.WRONG_DATE:                   N_("The date {on} is not possible."),
    Reason.REASON_NEEDED:                N_("A reason is needed."),
    Reason.NOT_SUPPORTED:                N_("This gateway does not do that."),
    Reason.NOT_AT_THIS_TERMINAL:         N_("Not possible at this terminal."),
    Reason.TOO_MANY_WRONG_PINS:          N_("Too many wrong PINs; try again later."),
    Reason.LOG_IN_FIRST:                 N_("The terminal must log in first."),
    Reason.UNUSABLE_MESSAGE:             N_("The message could not be read."),
    Reason.TRY_AGAIN:                    N_("No answer in time, and nothing was done. Try again."),
})
"""For every refusal its sentence; `RULES` names the rule behind it."""
# fmt: on


class _Known(dict[str, str]):
    """Values of a sentence; a missing one is UNKNOWN."""

    def __missing__(self, key: str) -> str:
        return UNKNOWN


def sentence(refused: Refused, own: Mapping[Reason, str] = MappingProxyType({})) -> str:
    """Return why, in the language of this request, by the sentences of `own` before those for staff. `rule_of` has the rule."""
    words = own.get(refused.why) or REASONS[refused.why]
    return gettext(words).format_map(_Known({name: _shown(v) for name, v in refused.detail.items()}))


def rule_of(refused: Refused) -> str:
    """Return the number of the published rule, "R13"; "" if there is none."""
    return refused.rule or RULES.get(refused.why, "")


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return day(value.date())
    if isinstance(value, date):
        return day(value)
    word = str(value)
    return gettext(POSITIONS[word]) if word in POSITIONS else word or UNKNOWN


def reason_in_words(word: str) -> str:
    """Return the sentence of a stored reason; a word of a later release as it is."""
    return sentence(Refused(Reason(word))) if word in set(Reason) else word
