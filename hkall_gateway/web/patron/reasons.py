"""Words for refusals, as a patron needs them."""

from __future__ import annotations

from typing import NamedTuple

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.web import labels
from hkall_gateway.web.patron import suspension


class Told(NamedTuple):
    """A refusal in words, with the number of its rule, "" for none."""

    words: str
    rule: str


def told(refused: Refused | None) -> Told | None:
    """Return a refusal in words, None for none."""
    if refused is None:
        return None
    suspended = refused.why is Reason.SERVICE_SUSPENDED
    words = suspension.notice(refused) if suspended else labels.sentence(refused, to_patron=True)
    return Told(words, labels.rule_of(refused))
