"""Carriers for outgoing messages: NCIP documents to partners, and letters to the mail server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from hkall_gateway.app import gauges
from hkall_gateway.app.resources import PerConfiguration, Resources
from hkall_gateway.circulation import choosing
from hkall_gateway.circulation.command import Library, in_context
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.db.database import Store
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.delivery import courier
from hkall_gateway.delivery.courier import Carrier
from hkall_gateway.delivery.smtp import Mailer, MailServer, smtp_post
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.peers import exchanges
from hkall_gateway.peers.authentication import OurProof
from hkall_gateway.peers.protocol import DECISIONS, BadProtocol, Line, PartnerClient, PartnerProtocol
from hkall_gateway.protocols import find_protocol
from hkall_gateway.rules.circuit import CircuitSettings
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import ILS_RECIPIENT, PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxKind, OutboxState

MAIL_IN_FLIGHT: Final = 4


def make_carriers(
    means: Resources, store: Store, library: Callable[[], Library], to_local_system: Carrier
) -> dict[OutboxKind, Carrier]:
    """Create the carrier for each kind of outbox row."""
    clients = PartnerClients(means, library)
    mailer = PerConfiguration(means.config, partial(_mailer, means, store, library))
    return {
        OutboxKind.NCIP: partner_carrier(clients.of, store, library, means.clock),
        OutboxKind.MAIL: gauges.counting_carrier(means.metrics, lambda row: mailer()(row)),
        OutboxKind.ILS: to_local_system,
    }


def channel_terms(means: Resources, line: str) -> courier.ChannelTerms:
    """Return the limits for one recipient: simultaneous deliveries, and attempts per message."""
    if line == ILS_RECIPIENT:
        return courier.ChannelTerms(in_flight=1)  # one message at a time
    found = next((p for p in means.config().partners if p.agency == line), None)
    return (
        courier.ChannelTerms(in_flight=found.in_flight, attempts=found.attempts or 0)
        if found
        else courier.ChannelTerms(in_flight=MAIL_IN_FLIGHT)
    )


def circuit_settings(means: Resources) -> CircuitSettings:
    """Return the circuit breaker settings for outgoing messages, from the [courier] table."""
    c = means.config().courier
    return CircuitSettings(failures=c.breaker_failures, probe_s=c.probe_s, give_up_s=c.give_up_s)


class PartnerClients:
    """The clients that send messages to partners, one for each protocol, with the configured secrets and credentials."""

    def __init__(self, means: Resources, library: Callable[[], Library]) -> None:
        self._means, self._library = means, library
        self._clients: dict[str, PerConfiguration[PartnerClient]] = {}

    def of(self, partner: Partner) -> PartnerClient:
        """Return the client for a partner's protocol. Raises BadProtocol if the protocol is no longer installed."""
        protocol = find_protocol(partner.protocol)
        if protocol.name not in self._clients:
            make = partial(self._make, protocol)
            self._clients[protocol.name] = PerConfiguration(self._means.config, make)
        return self._clients[protocol.name]()

    def _make(self, protocol: PartnerProtocol) -> PartnerClient:
        means = self._means
        post = AgentPost(means.reactor, content_type=protocol.content_type)
        proofs = config_mapping.our_proofs(means.config(), means.environ)
        return protocol.client(
            Line(
                agency=self._library().agency,
                secrets=config_mapping.agreed_secrets(means.config(), means.environ),
                post=post,
                posts={agency: post.proving(partial(_now, proof, means)) for agency, proof in proofs.items()},
                note=partial(exchanges.note, means.metrics, protocol.name),
                seconds=means.reactor.seconds,
                now=means.clock,
            )
        )


def partner_carrier(
    client_of: Callable[[Partner], PartnerClient], store: Store, library: Callable[[], Library], now: Callable[[], datetime]
) -> Carrier:
    """Create the carrier that sends documents to partners."""

    async def tell(row: OutboxRow) -> DeliveryResult:
        assert isinstance(row.payload, PartnerMessage)
        message, partner, look_for = await store.read(
            in_context(choosing.address_message, library(), now(), row.payload), is_long=True
        )
        if partner is None:
            return DeliveryResult(kind=DeliveryKind.UNREACHABLE, detail="no such partner")
        try:
            client = client_of(partner)
        except BadProtocol as missing:
            return DeliveryResult(kind=DeliveryKind.FAULT, detail=f"protocol {partner.protocol}: {missing}", untold=True)
        traits = find_protocol(partner.protocol).traits(partner)
        send = Notification(message.send)
        if send not in traits.tells:
            return DeliveryResult(kind=DeliveryKind.ACCEPTED, detail=f"{partner.protocol} has no message for it", untold=True)
        unsure = row.state == OutboxState.UNSURE
        answer = await client.deliver(message, partner, unsure=unsure, look_for=look_for if traits.looks else ())
        is_receipt = traits.decides_apart and answer.kind is not DeliveryKind.REFUSED
        if is_receipt and send in DECISIONS:  # a refusal at receipt is the decision itself
            return replace(answer, pending=True)
        return answer

    return tell


def _now(proof: OurProof, means: Resources) -> str:
    return proof(means.clock())


def _mailer(means: Resources, store: Store, library: Callable[[], Library]) -> Carrier:
    config = means.config()
    smtp = config.smtp
    if smtp is None:
        return _refuse_mail
    server = MailServer(
        host=smtp.host, port=smtp.port, login=smtp.login, password=means.secret(smtp.password_env), starttls=smtp.starttls
    )
    sender = config_mapping.sender(config, smtp.sender, means.secret(smtp.bounce_key_env))
    return Mailer(store, smtp_post(means.reactor, server), sender, library, means.clock, str(server)).deliver


async def _refuse_mail(_row: OutboxRow) -> DeliveryResult:
    return DeliveryResult(kind=DeliveryKind.UNDELIVERABLE, detail="no [smtp] in the configuration")
