"""What a site should know about its configuration though nothing is wrong with it: what `check-config` prints as notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hkall_gateway.config.gateway import Gateway, Terminal
from hkall_gateway.config.loading import Fault, Table, read
from hkall_gateway.ncip.calls import DIRECT
from hkall_gateway.ncip.dialects import DIALECTS
from hkall_gateway.rules.policy import messages_of
from hkall_gateway.rules.settings import ROLES, Policy

ALL: Final = frozenset(code for row in ROLES for code in row.messages)
"""What 0.1.0 took from a terminal of any role."""
FOR_TILLS: Final = frozenset({"selfcheck"})
GOES_ON: Final = frozenset({"counter", "selfcheck"})


def notes(config: Gateway, policy: Policy) -> Iterator[Fault]:
    """Where in the file, and what a terminal or a broker may do no more unless the site says so.

    What is said explicitly has no note.
    """
    site = read(config.policy.file) if config.policy.file else {}
    decided = {row.get("role") for row in _rows(site, "roles") if "messages" in row}
    for role in dict.fromkeys(row.role for row in config.sip2.terminals):
        mine = [row for row in config.sip2.terminals if row.role == role]
        if role not in decided:
            yield from _lost(role, mine, policy)
        yield from _silent(role, mine)
    for partner in config.partners:
        if partner.sees_patrons is None and DIALECTS[partner.dialect].flow != DIRECT:
            yield f"partners {partner.agency}", BROKER


BROKER: Final = (
    "sees_patrons is not said: without a PIN or an open request it is told eligibility and blocks alone; "
    "true tells it names, addresses, loans and debts, false ends this note"
)


def _lost(role: str, terminals: list[Terminal], policy: Policy) -> Iterator[Fault]:
    lost = ALL - messages_of(role, policy)
    if lost:
        mend = f'[[roles]] role = "{role}" with a list of messages in the policy file changes that'
        yield _named(terminals), f"{role}: {' '.join(sorted(lost))} are refused, also about the library's own books; {mend}"


def _silent(role: str, terminals: list[Terminal]) -> Iterator[Fault]:
    tills = [row for row in terminals if row.takes_money is None and role in FOR_TILLS]
    if tills:
        yield (
            _named(tills),
            "takes_money is not said: payments (37) are refused; true for a kiosk with a till, false ends this note",
        )
    going = [row for row in terminals if row.offline is None and role in GOES_ON]
    if going:
        what = "offline is not said: what is told as done while the line was down (no block) is decided as if asked now"
        yield _named(going), f"{what}; true for a terminal that goes on off line, false ends this note"


def _named(terminals: list[Terminal]) -> str:
    return f"sip2.terminals {', '.join(row.login for row in terminals)}"


def _rows(tables: Table, key: str) -> list[Table]:
    found = tables.get(key)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
