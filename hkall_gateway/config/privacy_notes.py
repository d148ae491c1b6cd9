"""What `check-config` says about how long patrons are remembered, where the site has not decided it or decided "for ever"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hkall_gateway.config.gateway import Gateway
from hkall_gateway.config.loading import Fault, read
from hkall_gateway.rules.settings import Policy

DAYS: Final = ("anonymise_days", "messages_days")


def privacy_notes(config: Gateway, policy: Policy) -> Iterator[Fault]:
    """(key, note) for each period of [retention] that the site has not set, or has set to 0."""
    site = read(config.policy.file).get("retention", {}) if config.policy.file else {}
    for key in DAYS:
        days = getattr(policy.retention, key)
        if not days:
            yield f"retention.{key}", "is 0: patrons are remembered for ever; Hong Kong's PDPO wants a period"
        elif key == "anonymise_days" and key not in site:
            what = f"is not set: {days} days after its end a request forgets its patron, also what ended before the upgrade"
            yield f"retention.{key}", f"{what}; setting it in the policy file ends this note"
