"""The quarantine of partners' messages that fit no request, or contradict what we have seen ourselves.

Each is answered by a Problem and stored redacted, so that none is lost. Staff judge it: what they replay is believed. Typical
causes are a restored database and a partner that mixes up its numbers.
Source: the life cycle's table of repeated and misplaced messages; the codes of OpenRS for unmatched messages.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from hkall_gateway.circulation.messages.partner_commands import KeepUnplaced
from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage, redacted
from hkall_gateway.ncip.profile import service_for
from hkall_gateway.ncip.reply_payload import Payload
from hkall_gateway.ncip.service_request import Caller, NcipServices, ServiceRequest
from hkall_gateway.rules.reasons import Reason

LOG = structlog.get_logger()

UNMATCHED: Final = frozenset({Reason.UNKNOWN_REQUEST, Reason.UNKNOWN_ITEM, Reason.AGENCY_NOT_OWNER})
"""The refusals of a notification that matches no request or copy."""

CONTRADICTING: Final = frozenset({Reason.CONTRADICTS_US})
"""The refusals of any message that contradicts our own record."""

COMMANDS: Final = frozenset({"AcceptItem", "CheckInItem", "CheckOutItem"})
"""Commands that report an event that has already happened; they are treated like notifications."""


async def held(call: ServiceRequest, said: Payload) -> Payload:
    """Return the answer unchanged, after storing a partner's message that matches no request or copy, or contradicts ours."""
    told = SHAPES[call.message.service].kind == "N" or call.message.service in COMMANDS
    kept_for = CONTRADICTING | UNMATCHED if told else CONTRADICTING
    if not call.from_client and isinstance(said, Refused) and said.why in kept_for:
        kept = await call.services.circulation.execute(KeepUnplaced(call.by, call.digest, document(call.message), said.why))
        LOG.warning("ncip.quarantined", peer=call.caller.agency, service=call.message.service, reason=said.why, kept=kept)
    return said


def document(message: NcipMessage) -> str:
    """The message encoded in the direct dialect, with a dot for every secret or personal value."""
    fields: Any = redacted(message)
    return encode(NcipMessage(message.service, fields), DIALECTS["direct"]).decode()


async def heard_again(services: NcipServices, agency: str, digest: str, kept: str) -> Payload:
    """Replay a stored document as if its partner had sent it now and a person believed it, and return the answer."""
    message = decode(kept.encode())
    caller = services.callers.get(agency) or Caller(agency, "", "partner", ())
    service = service_for(services, caller, message.service)
    return (
        await service.handle(ServiceRequest(services, caller, message, digest, judged=True))
        if service
        else Refused(Reason.NOT_SUPPORTED)
    )
