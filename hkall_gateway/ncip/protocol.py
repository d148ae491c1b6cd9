"""NCIP as a row of the table of partners' protocols. What takes long to import is imported when it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.observability.examination import Probe
from hkall_gateway.peers.protocol import (
    House,
    Line,
    Operator,
    PartnerProtocol,
    Peers,
    Server,
    Traits,
)

if TYPE_CHECKING:
    from hkall_gateway.circulation.results import Refused
    from hkall_gateway.ncip.transport.client import NcipClient
    from hkall_gateway.rules.callers import PartnerAccess
    from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
    from hkall_gateway.rules.partners import Partner


def _word(refused: Refused, service: str) -> str:
    from hkall_gateway.ncip.tables.problems import make_problem

    problem = make_problem(refused.why, service, refused.detail)
    return f"{problem.problem}: {problem.detail}"


FLAT_KEYS: Final = frozenset(
    {"url", "dialect", "user_sent", "can_lookup_request", "can_lookup_items", "lookup_by_copy", "date_semantics"}
    | {"application_profile", "item_id_type", "request_type", "request_scope_type", "problems", "from_system_id", "our_user"}
    | {"request_id_in_ext", "timezone", "lookups_per_minute", "sees_patrons"}
)
"""Keys of [partners.ncip], which may also stand in [[partners]] itself, as before there were other protocols."""


def _traits(partner: Partner) -> Traits:
    from hkall_gateway.ncip.tables.flows import FLOWS

    return Traits(
        decides_apart=False,
        tells=frozenset(FLOWS[DIALECTS[partner.dialect].flow]),
        looks=partner.can_lookup_items or partner.can_lookup_request,
        renewal_modes=("local_then_notify", "ask_first"),
    )


BROKER: Final = (
    "sees_patrons is not set: without a PIN or an open request it gets eligibility and blocks only; "
    "true gives it names, addresses, loans and debts, false ends this note"
)


def _note_broker(partner: Partner, access: PartnerAccess) -> Iterator[str]:
    from hkall_gateway.ncip.service_request import DIRECT

    if access.sees_patrons is None and DIALECTS[partner.dialect].flow != DIRECT:
        yield BROKER


def _make_servers(peers: Peers, house: House) -> Mapping[str, Server]:
    """Create the HTTP site and the factory for NCIP 1 over raw TCP, which share one connection limit."""
    from hkall_gateway.ncip.serving import services_of
    from hkall_gateway.ncip.transport.http import NcipSite
    from hkall_gateway.ncip.transport.raw_tcp import NcipConnectionFactory

    services = services_of(peers)
    site = NcipSite(services, house.bounds, house.reactor, house.balancers)
    version_1 = NcipConnectionFactory(services, house.bounds, house.reactor)
    return {"listen": site, "listen_v1_tcp": version_1}


def _make_client(line: Line) -> NcipClient:
    from hkall_gateway.ncip.transport.client import NcipClient

    return NcipClient(line.post, line.agency, line.secrets, line.note, line.seconds, line.posts)


def _show(message: PartnerMessage, partner: Partner, agency: str) -> str:
    from hkall_gateway.ncip.transport.client import show_document

    return show_document(message, partner, agency)


async def _replay(peers: Peers, agency: str, digest: str, document: str) -> str | Refused:
    from hkall_gateway.circulation.results import Refused
    from hkall_gateway.ncip.handlers import replay_document
    from hkall_gateway.ncip.serving import services_of
    from hkall_gateway.ncip.tables.problems import Problem

    outcome = await replay_document(services_of(peers), agency, digest, document)
    if isinstance(outcome, Problem):
        return f"{outcome.problem}: {outcome.detail}"
    return outcome if isinstance(outcome, Refused) else ""


NCIP: Final = PartnerProtocol(
    name="ncip",
    titles=MappingProxyType({"en": "NCIP", "zh-Hant": "NCIP"}),
    flat_keys=FLAT_KEYS,
    needs=("url",),
    content_type='application/xml; charset="utf-8"',
    traits=_traits,
    listens=("listen", "listen_v1_tcp"),
    servers=_make_servers,
    client=_make_client,
    operator=Operator(
        show=_show,
        replay=_replay,
        word=_word,
        address=lambda partner: partner.url,
        probes=(Probe.NCIP,),
        notes=_note_broker,
    ),
    hidden=frozenset(name for name, element in ELEMENTS.items() if element.hidden),
)
