"""Who we are: our agency, our pickup locations and our policy, handed to every function of the desk."""

from __future__ import annotations

from collections.abc import Mapping
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


# fmt: off
NOTICE_KEYS: Mapping[Send, str] = {
    Send.LETTER_PICKUP:           "pickup",
    Send.LETTER_RECALLED:         "recall",
    Send.LETTER_RECALL_CANCELLED: "recall",
    Send.LETTER_OVERDUE:          "overdue",
    Send.LETTER_UNFILLED:         "cancelled_final",
    Send.LETTER_RENEWAL_DENIED:   "renewal_denied",
    Send.LETTER_EXPIRED:          "pickup_expired",
    Send.LETTER_DECLINED:         "each_decline",
}
# fmt: on
"""The key of `[notices]` that says whether a kind of letter is sent."""


@cache
def _silent(notices: Notices) -> frozenset[Send]:
    return frozenset(send for send, key in NOTICE_KEYS.items() if not getattr(notices, key))


def refused(refusal: Refusal, language: str = "", title: str = "") -> Refused:
    """A rule's no as the desk's answer."""
    return Refused(refusal.why, refusal.rule, refusal.detail, language, title)
