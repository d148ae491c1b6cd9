"""What each protocol does with a partner's command: once for each document, and kept for staff if it fits no request."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.partner_notice import PartnerNotice
from hkall_gateway.circulation.partners.partner_reports import KeepUnplaced
from hkall_gateway.circulation.results import Refused
from hkall_gateway.peers.exchanges import observe
from hkall_gateway.peers.protocol import Peers
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor

UNMATCHED: Final = frozenset({Reason.UNKNOWN_REQUEST, Reason.UNKNOWN_ITEM, Reason.AGENCY_NOT_OWNER})
"""Reasons for refusing a report of an event that matches no request or item."""

CONTRADICTING: Final = frozenset({Reason.CONTRADICTS_US})
"""Reasons for refusing a message of any kind that contradicts our own record."""

CORR: Final = 12
"""Length of the correlation id in the log and the journal, which is the start of the document's digest."""

MONTH_S: Final = 30 * 24 * 3600
"""How long the reply to a document is kept for its repetitions."""


def digest_of(body: bytes) -> str:
    """Return the hash by which a repeated document is recognised."""
    return blake2b(body, digest_size=16).hexdigest()


async def execute_once(peers: Peers, command: Any, digest: str, document: str) -> Any:
    """Execute the command of a partner's document, and measure it.

    A document that comes again gets its first result.

    Args:
        peers: The protocol's peers.
        command: A command with the partner as `by`.
        digest: The hash of the document.
        document: The document without its secrets, which staff see if it fits no request.
    """
    began = peers.now()
    by: Actor = command.by
    inbox = InboxKey(agency=by.who, digest=digest, keep_s=MONTH_S)
    result = await peers.circulation.execute(command, inbox=inbox)
    reports_event = isinstance(command, PartnerNotice)
    await keep_unplaced(peers.circulation, by, digest, document, result, reports_event=reports_event)
    seconds = (peers.now() - began).total_seconds()
    observe(peers.metrics, peers.protocol, by.who, by.message, "in", seconds)
    return result


async def keep_unplaced(
    circulation: Circulation,
    by: Actor,
    digest: str,
    document: str,
    result: object,
    *,
    reports_event: bool,
) -> bool | None:
    """Quarantine a document whose result is a refusal because it fits no request or contradicts our record.

    Returns:
        Whether it was kept. None if there is no reason to keep it.
    """
    reasons = CONTRADICTING | UNMATCHED if reports_event else CONTRADICTING
    if not isinstance(result, Refused) or result.why not in reasons:
        return None
    kept = await circulation.execute(KeepUnplaced(by=by, digest=digest, document=document, why=result.why))
    return kept is True
