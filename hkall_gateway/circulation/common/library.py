"""The library that this gateway serves: agency, pickup locations and policy, passed to every function of the desk."""

from __future__ import annotations

from dataclasses import dataclass

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages import letters
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Refusal


@dataclass(frozen=True, slots=True)
class Library:
    """The library that this gateway serves. The first pickup location is the default one (R4)."""

    agency: str
    name: str
    policy: Policy
    pickup_locations: tuple[str, ...]

    @property
    def silent(self) -> frozenset[Notification]:
        """The letters that the policy does not send."""
        return letters.silent(self.policy.notices)


def refused(refusal: Refusal, language: str = "", title: str = "") -> Refused:
    """A rule's refusal as the desk's result."""
    return Refused(refusal.why, refusal.rule, refusal.detail, language, title)
