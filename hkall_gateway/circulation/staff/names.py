"""Names and cards begin with the role clerk: what a viewer sees of a request is without its patron, and without free text.

A viewer sees the patron's category, and the random number of the patron's page where there is one. Free text, of staff, of a
partner or of a mail server, may name a patron, and so may a document. SECURITY.md has the rule in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Request

SEES_NAMES: Final = StaffRole.CLERK

# fmt: off
IMPERSONAL: Final = frozenset({
    "agency", "asked_due", "attempt", "barcode", "bib_id", "call_number", "cents", "claimed_on", "count", "day",
    "destination", "dropped_on", "due", "due_before_recall", "fine_cents", "first_checkout", "item", "item_agency",
    "item_barcode", "lender_due", "limit", "loan_days", "lost_on", "need_before", "old_due", "on", "partner",
    "pickup_last", "pickup_location", "position", "recalled", "recalled_on", "received_on", "renewal_sync",
    "renewals", "request", "returned_on", "title", "until", "volume", "wire_id",
})
# fmt: on
"""Facts of the journal that say nothing about a person, by their names; a viewer sees no other ones."""
PERSONAL: Final = frozenset({"card", "patron", "held_for"})
"""Facts of a decision that name a patron; a viewer sees all others."""


def sees_names(role: StaffRole) -> bool:
    """Return whether this role sees names and cards."""
    return role >= SEES_NAMES


def request_for(request: Request, role: StaffRole) -> Request:
    """Return a request as this role sees it."""
    return request if sees_names(role) else replace(request, patron="", reason="")


def impersonal(facts: Mapping[str, str]) -> Mapping[str, str]:
    """Return the facts that a viewer sees."""
    return {name: value for name, value in facts.items() if name in IMPERSONAL}
