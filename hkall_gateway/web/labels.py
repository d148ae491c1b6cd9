"""Words of the pages for values that the rules name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.i18n import N_

P = Position

# fmt: off
POSITIONS: Final[Mapping[str, str]] = MappingProxyType({
    P.NEW:            N_("New"),
    P.REQUESTED:      N_("Requested from a lender"),
    P.CANCELLING:     N_("Being cancelled"),
    P.IN_TRANSIT:     N_("On the way to us"),
    P.RECEIVED:       N_("On the hold shelf"),
    P.ON_LOAN:        N_("On loan"),
    P.TO_RETURN:      N_("To send home"),
    P.UNFILLED:       N_("No library could lend"),
    P.CANCELLED:      N_("Cancelled"),
    P.PAGED:          N_("To fetch from our shelves"),
    P.SHIPPED:        N_("Sent to a borrower"),
    P.AT_BORROWER:    N_("At the borrower"),
    P.DECLINED:       N_("Declined"),
    P.WITHDRAWN:      N_("Withdrawn"),
    P.RETURN_TRANSIT: N_("On the way home"),
    P.CLOSED:         N_("Home again"),
})
"""Where a request stands, for staff."""

ROUNDS: Final[Mapping[str, str]] = MappingProxyType({
    "pickup_expiry":    N_("Books not collected"),
    "overdue":          N_("Overdue letters"),
    "not_needed_after": N_("Requests no longer needed"),
    "postponed":        N_("Postponed requests"),
    "silence":          N_("Lenders that do not answer"),
    "stuck":            N_("Requests that stand still"),
    "inbox_cleanup":    N_("Cleaning of the inbox"),
    "purge":            N_("Retention of records"),
})
"""What time alone does, by the name of its round."""
# fmt: on
