"""Notes about a valid configuration, which `check-config` and `doctor` print.

A note names a setting that works but may be unintended, or that the site still has to decide. A value that one of the two
files sets explicitly, even to the default, gets no note.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hkall_gateway.config.gateway import GatewayConfig, TerminalConfig
from hkall_gateway.config.loading import Fault, Table, dotted, read, record_from_row
from hkall_gateway.ils.adapter import FORMER_GROUP, GROUP
from hkall_gateway.ils.installed import is_former
from hkall_gateway.protocols import find_protocol
from hkall_gateway.rules.callers import PartnerAccess
from hkall_gateway.rules.policy import messages_of
from hkall_gateway.rules.settings import ROLES, Policy

ALL: Final = frozenset(code for row in ROLES for code in row.messages)
"""SIP2 messages that release 0.1.0 accepted from terminals in any role."""
_OFFLINE: Final = "transactions made off line (no block) are decided as if asked now; true for a terminal that goes on off line"
UNSET: Final = (
    ("takes_money", {"selfcheck"}, "payments (37) are refused; true for a kiosk with a till"),
    ("offline", {"counter", "selfcheck"}, _OFFLINE),
)
"""Keys that a terminal's row may leave out, the roles for which that is noted, and what it means."""
DAYS: Final = ("anonymise_days", "messages_days")


def _note_unnamed_places(config: GatewayConfig, _site: Table, _policy: Policy) -> Iterator[Fault]:
    """Yield pickup locations without a name, for which letters would show the code."""
    library = config.library
    for code in library.pickup_locations:
        in_chinese = code in library.place_names or code in library.place_names_zh
        known = {"en": code in library.place_names, "zh-Hant": in_chinese}
        if unknown := [language for language in library.languages if not known[language]]:
            yield dotted(("library", "place_names", code)), f"is missing; letters in {' and '.join(unknown)} say {code!r}"


def _note_terminals(config: GatewayConfig, site: Table, policy: Policy) -> Iterator[Fault]:
    """Yield terminal messages and rights that are now off by default, unless the site has set them."""
    roles = site.get("roles")
    rows = [row for row in roles if isinstance(row, dict)] if isinstance(roles, list) else []
    decided = {row.get("role") for row in rows if "messages" in row}
    for role in dict.fromkeys(row.role for row in config.sip2.terminals):
        mine = [row for row in config.sip2.terminals if row.role == role]
        lost = ALL - messages_of(role, policy)
        if lost and role not in decided:
            mend = f'[[roles]] role = "{role}" with a list of messages in the policy file changes that'
            yield (
                _terminal_names(mine),
                f"{role}: {' '.join(sorted(lost))} are refused, also about the library's own books; {mend}",
            )
        for key, of, what in UNSET:
            if role in of and (unset := [row for row in mine if getattr(row, key) is None]):
                yield _terminal_names(unset), f"{key} is not set: {what}, false ends this note"


def _terminal_names(terminals: Sequence[TerminalConfig]) -> str:
    return f"sip2.terminals {', '.join(row.login for row in terminals)}"


def _note_partners(config: GatewayConfig, _site: Table, _policy: Policy) -> Iterator[Fault]:
    """Yield what the protocol of each partner notes about its row."""
    for row in config.partners:
        partner = row.plain()
        for note in find_protocol(partner.protocol).operator.notes(partner, record_from_row(PartnerAccess, row)):
            yield f"partners {partner.agency}", note


def _note_former_adapter(config: GatewayConfig, _site: Table, _policy: Policy) -> Iterator[Fault]:
    if is_former(config.ils.connector):
        what = f"{config.ils.connector!r} is an entry point of the group {FORMER_GROUP}, which the next release will not read"
        yield "ils.connector", f"{what}; its maker must offer it in {GROUP}"


def _note_keys_without_tls(config: GatewayConfig, _site: Table, _policy: Policy) -> Iterator[Fault]:
    """Yield public keys that are fetched without TLS, which lets an attacker in the middle sign as the peer."""
    tokens = [(("partners", i), row.jwt) for i, row in enumerate(config.partners)]
    tokens += [(("clients", i), row.jwt) for i, row in enumerate(config.clients)]
    for where, jwt in tokens:
        if jwt and jwt.jwks_url and jwt.jwks_url.startswith("http:"):
            yield (
                dotted((*where, "jwt", "jwks_url")),
                "is fetched without TLS: a change on the way lets a third party sign as the peer",
            )


def _note_retention(_config: GatewayConfig, site: Table, policy: Policy) -> Iterator[Fault]:
    """Yield each retention period that the site has not set, or has set to 0."""
    for key in DAYS:
        days = getattr(policy.retention, key)
        if not days:
            yield f"retention.{key}", "is 0: patron data are kept for ever; Hong Kong's PDPO requires a period"
        elif key == "anonymise_days" and key not in site.get("retention", {}):
            what = f"is not set: {days} days after its end a request forgets its patron, also what ended before the upgrade"
            yield f"retention.{key}", f"{what}; setting it in the policy file ends this note"


NOTES: Final = (
    _note_unnamed_places,
    _note_terminals,
    _note_partners,
    _note_former_adapter,
    _note_keys_without_tls,
    _note_retention,
)


def notes(config: GatewayConfig, policy: Policy) -> Iterator[Fault]:
    """Yield (path of a key, effect on users or decision to make)."""
    site = read(config.policy.file) if config.policy.file else {}
    for note in NOTES:
        yield from note(config, site, policy)
