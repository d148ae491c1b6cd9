"""Who we are: our agency, our pickup locations and our policy, handed to every function of the desk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hkall_gateway.desk.outcomes import Refused
from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.settings import Notices, Policy
from hkall_gateway.rules.vocabulary import Refusal


@dataclass(frozen=True, slots=True)
class House:
    """The library that this gateway serves. The first pickup location is the default one (R4)."""

    agency: str
    name: str
    policy: Policy
    pickup_locations: tuple[str, ...]

    @property
    def silent(self) -> frozenset[Send]:
        """The letters that the policy does not send."""
        return _silent(self.policy.notices)


@cache
def _silent(notices: Notices) -> frozenset[Send]:
    wanted = {
        Send.LETTER_PICKUP: notices.pickup,
        Send.LETTER_RECALLED: notices.recall,
        Send.LETTER_RECALL_CANCELLED: notices.recall,
        Send.LETTER_OVERDUE: notices.overdue,
        Send.LETTER_UNFILLED: notices.cancelled_final,
        Send.LETTER_RENEWAL_DENIED: notices.renewal_denied,
        Send.LETTER_EXPIRED: notices.pickup_expired,
        Send.LETTER_DECLINED: notices.each_decline,
    }
    return frozenset(send for send, sent in wanted.items() if not sent)


def refused(refusal: Refusal, language: str = "", title: str = "") -> Refused:
    """A rule's no as the desk's answer."""
    return Refused(refusal.why, refusal.rule, refusal.detail, language, title)
