"""Words for refusals, as a patron needs them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from hkall_gateway.desk.messages.results import Refused
from hkall_gateway.rules.vocabulary import Reason
from hkall_gateway.web import reasons
from hkall_gateway.web.i18n import N_
from hkall_gateway.web.patron import suspension

# fmt: off
REASONS: Final[Mapping[Reason, str]] = MappingProxyType({
    Reason.UNKNOWN_BORROWER:      N_("Your card is not known here. Ask at the counter."),
    Reason.CARD_REPLACED:         N_("Your card was replaced by another one. Log in with the new one."),
    Reason.WRONG_PIN:             N_("Card or PIN is wrong."),
    Reason.NOT_ELIGIBLE:          N_("Cards of your kind may not use HKALL."),
    Reason.ELIGIBILITY_UNKNOWN:   N_("We do not know whether you may use HKALL. Ask at the counter."),
    Reason.PATRON_EXPIRED:        N_("Your card expired on {expires}. Renew it at the counter."),
    Reason.PATRON_BLOCKED:        N_("Your card is blocked. Ask at the counter."),
    Reason.AVAILABLE_LOCALLY:     N_("A copy is on our own shelf. Borrow that one."),
    Reason.AVAILABILITY_UNKNOWN:  N_("We cannot see now whether our own copy is on the shelf. Try again later."),
    Reason.NO_AVAILABLE_COPY:     N_("No library has a copy to lend now."),
    Reason.DUPLICATE_REQUEST:     N_("You have requested this title already."),
    Reason.QUOTA_HKALL:           N_("You have all the {limit} HKALL books that you may have, requests included."),
    Reason.QUOTA_TOTAL:           N_("You have all the {limit} books that you may have."),
    Reason.QUOTA_UNKNOWN:         N_("We cannot see now how many books you have. Try again later."),
    Reason.RENEWAL_LIMIT:         N_("Renewed {limit} times already."),
    Reason.RENEWAL_TOO_SOON:      N_("Can be renewed from {from} on."),
    Reason.RENEWAL_OVERDUE:       N_("It is overdue: please return it."),
    Reason.RENEWAL_DENIED:        N_("Its library does not renew it."),
    Reason.RECALLED:              N_("Its library needs it back: recalled books are not renewed."),
    Reason.TOO_LATE_TO_CANCEL:    N_("Can no longer be cancelled."),
    Reason.WRONG_POSITION:        N_("This has changed meanwhile. Look at your record."),
    Reason.TRY_AGAIN:             N_("No answer in time, and nothing was done. Try again."),
})
"""Sentences that speak to the patron; others are those for staff."""
# fmt: on


class Told(NamedTuple):
    """A refusal in words, with the number of its rule, "" for none."""

    words: str
    rule: str


def told(refused: Refused | None) -> Told | None:
    """Return a refusal in words, None for none."""
    if refused is None:
        return None
    suspended = refused.why is Reason.SERVICE_SUSPENDED
    words = suspension.notice(refused) if suspended else reasons.sentence(refused, REASONS)
    return Told(words, reasons.rule_of(refused))
