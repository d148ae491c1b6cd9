"""NCIP without sockets: takes a partner's or a client's document and returns the reply; sends ours to the lab's partners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.common import choosing
from hkall_gateway.circulation.common.context import in_context
from hkall_gateway.circulation.messages.results import DeliveryResult
from hkall_gateway.db.engine.immediate import Immediate, finished
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.ncip.service_request import Caller, NcipServices, Peer
from hkall_gateway.ncip.transport.client import NcipClient, Post
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.dates.calendar import HONG_KONG
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxState
from hkall_gateway.simulator.scenario.world_file import Start, secret_of

HERE: Final = "127.0.0.1"


class Documents:
    """The responder and the initiator of a world, with the NCIP server's `services`; `secret` is agreed with each agency."""

    def __init__(
        self,
        start: Start,
        circulation: Circulation,
        store: Immediate,
        post: Post,
        now: Callable[[], datetime],
        secret: Callable[[str], str] = secret_of,
        timeout: Timeout | None = None,
    ) -> None:
        self._store = store
        self.services = NcipServices(
            circulation=circulation,
            callers={caller.agency: caller for caller in _callers(start, secret)},
            agency=start.agency,
            timezone=HONG_KONG,
            dialects={partner.agency: partner.dialect for partner in start.partners},
            metrics=Metrics(),
            now=now,
            timeout=timeout,
            places={code: code for code in start.pickup_locations},
            name_order="surname_first",
        )
        self._client = NcipClient(post, start.agency, {partner.agency: secret(partner.agency) for partner in start.partners})

    def answer(self, body: bytes) -> bytes:
        """Returns the reply to a document that came from this machine."""
        return finished(respond(self.services, body, None, Peer(HERE)))

    async def carry(self, row: OutboxRow) -> DeliveryResult:
        """Sends the message in an outbox row to a partner."""
        assert isinstance(row.payload, PartnerMessage)
        circulation, now = self.services.circulation, self.services.now()
        message, partner, look_for = await self._store.read(
            in_context, choosing.addressed, circulation.library, now, row.payload
        )
        if partner is None:
            return DeliveryResult(DeliveryKind.REFUSED, "Unknown Agency")
        return await self._client.deliver(message, partner, unsure=row.state == OutboxState.UNSURE, look_for=look_for)


def _callers(start: Start, secret: Callable[[str], str]) -> Iterator[Caller]:
    for partner in start.partners:
        agreed = secret(partner.agency)
        told = Caller(partner.agency, agreed, "partner", (HERE,), date_semantics=partner.date_semantics)
        in_ext = partner.agency in start.numbered_in_ext
        yield replace(told, item_id_type=partner.item_id_type, request_id_in_ext=in_ext)
    for client in start.clients:
        yield replace(Caller(client, secret(client), "client", (HERE,)), **start.client_keys.get(client, {}))
