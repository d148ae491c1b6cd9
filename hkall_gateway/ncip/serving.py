"""The services of the NCIP responder, from what the gateway gives to every protocol of partners."""

from __future__ import annotations

from typing import cast

from hkall_gateway.ncip.service_request import NcipServices
from hkall_gateway.ncip.tables.notifications import NameOrder
from hkall_gateway.peers.protocol import Peers
from hkall_gateway.rules.dates import HONG_KONG


def services_of(peers: Peers) -> NcipServices:
    """Make the responder's services."""
    return NcipServices(
        circulation=peers.circulation,
        callers=peers.callers,
        agency=peers.agency,
        timezone=HONG_KONG,
        metrics=peers.metrics,
        now=peers.now,
        timeout=peers.timeout,
        other_names=peers.other_names,
        proofs=peers.proofs,
        guesses=peers.guesses,
        verify=peers.verify,
        places=peers.places,
        name_order=cast("NameOrder", peers.name_order),
        public_keys=peers.public_keys,
    )
