"""News about a request or a copy that we do not know: answered by a Problem, kept without its secrets, and heard again by hand.

A restored database, or a partner that mixes up its numbers, shows itself here; nothing that a partner said is lost.
Source: the life cycle's table of repeated and misplaced messages; the codes of OpenRS for what nobody could place.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from hkall_gateway.desk.messages.results import Refused
from hkall_gateway.ncip.answers import Said
from hkall_gateway.ncip.calls import Call, Caller, Door
from hkall_gateway.ncip.codec import decode, encode
from hkall_gateway.ncip.dialects import DIALECTS
from hkall_gateway.ncip.messages import SHAPES, Message, redacted
from hkall_gateway.ncip.profile import service_for
from hkall_gateway.rules.vocabulary import Why

LOG = structlog.get_logger()

UNPLACED: Final = frozenset({Why.UNKNOWN_REQUEST, Why.UNKNOWN_ITEM, Why.AGENCY_NOT_OWNER})
"""What is said of news that fits nothing here."""

COMMANDS: Final = frozenset({"AcceptItem", "CheckInItem", "CheckOutItem"})
"""Services that ask for what has happened already: as good as their notifications."""


async def held(call: Call, said: Said) -> Said:
    """The answer as it is; a partner's news that fits nothing is kept before it is given."""
    told = SHAPES[call.message.service].kind == "N" or call.message.service in COMMANDS
    if told and not call.from_client and isinstance(said, Refused) and said.why in UNPLACED:
        kept = await call.door.desk.keep_unplaced(call.by, call.digest, document(call.message), said.why)
        LOG.warning("ncip.quarantined", peer=call.caller.agency, service=call.message.service, reason=said.why, kept=kept)
    return said


def document(message: Message) -> str:
    """The document with a dot for everything secret or personal, in our own hand."""
    fields: Any = redacted(message)
    return encode(Message(message.service, fields), DIALECTS["direct"]).decode()


async def heard_again(door: Door, agency: str, digest: str, kept: str) -> Said:
    """What is answered to a kept document now, as if it had come from its partner at this moment."""
    message = decode(kept.encode())
    caller = door.callers.get(agency) or Caller(agency, "", "partner", ())
    service = service_for(door, caller, message.service)
    return await service.handle(Call(door, caller, message, digest)) if service else Refused(Why.NOT_SUPPORTED)
