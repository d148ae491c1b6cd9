"""Words for the messages that leave: to partners, to patrons, and to the library's own system."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.local_messages import LocalSend
from hkall_gateway.web.i18n import N_

N = Notification

# fmt: off
SENDS: Final[Mapping[str, str]] = MappingProxyType({
    N.ASK_LENDER:                     N_("Request to the lender"),
    N.CANCEL_AT_LENDER:               N_("Cancellation to the lender"),
    N.TELL_LENDER_RECEIVED:           N_("To the lender: received"),
    N.TELL_LENDER_ON_LOAN:            N_("To the lender: on loan"),
    N.TELL_LENDER_RENEWED:            N_("To the lender: renewed"),
    N.ASK_LENDER_TO_RENEW:            N_("To the lender: may it be renewed?"),
    N.ASK_LENDER_LATER_DATE:          N_("To the lender: a later date?"),
    N.TELL_LENDER_RETURNED:           N_("To the lender: returned by the patron"),
    N.TELL_LENDER_ON_ITS_WAY:         N_("To the lender: on its way home"),
    N.TELL_LENDER_CLAIMED:            N_("To the lender: patron says it was returned"),
    N.TELL_LENDER_LOST:               N_("To the lender: lost"),
    N.TELL_BORROWER_SHIPPED:          N_("To the borrowing library: sent"),
    N.TELL_BORROWER_DECLINED:         N_("To the borrowing library: declined"),
    N.TELL_BORROWER_RECALLED:         N_("To the borrowing library: recalled"),
    N.TELL_BORROWER_RECALL_CANCELLED: N_("To the borrowing library: recall cancelled"),
    N.TELL_BORROWER_HOME:             N_("To the borrowing library: home again"),
    N.LETTER_PICKUP:                  N_("Letter: ready to collect"),
    N.LETTER_UNFILLED:                N_("Letter: no library could lend"),
    N.LETTER_RECALLED:                N_("Letter: recalled"),
    N.LETTER_RECALL_CANCELLED:        N_("Letter: recall cancelled"),
    N.LETTER_OVERDUE:                 N_("Letter: overdue"),
    N.LETTER_RENEWAL_DENIED:          N_("Letter: renewal denied"),
    N.LETTER_EXPIRED:                 N_("Letter: not collected in time"),
    N.LETTER_DECLINED:                N_("Letter: a library declined"),
    LocalSend.TELL_ILS_BLOCKED:       N_("To the library system: card blocked"),
    LocalSend.TELL_ILS_ENABLED:       N_("To the library system: card enabled"),
    LocalSend.TELL_ILS_LENT:          N_("To the library system: lent"),
    LocalSend.TELL_ILS_BACK:          N_("To the library system: back"),
    LocalSend.CHECK_ILS_LOAN:         N_("To the library system: is it lent?"),
    LocalSend.CHECK_ILS_RETURN:       N_("To the library system: is it returned?"),
    LocalSend.CHECK_ILS_PAYMENT:      N_("To the library system: is it paid?"),
})
"""What a message is, by its kind in the outbox."""
# fmt: on
