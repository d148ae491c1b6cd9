"""Answers NCIP documents that are posted by HTTP."""

from __future__ import annotations

from typing import Final

import structlog
from twisted.internet.defer import Deferred

from hkall_gateway.ncip.handlers import NcipServices, respond
from hkall_gateway.ncip.serving import services_of
from hkall_gateway.net.bounded_http import Bounds
from hkall_gateway.net.http_post import CONTENT_TYPE, charset
from hkall_gateway.net.limits.allow_list import NO_ADDRESS, AllowList
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.peers.document_site import DocumentSite, Posted
from hkall_gateway.peers.protocol import Peers

LOG = structlog.get_logger()

ABOUT: Final = "This is the NCIP responder of {agency}. Post an NCIP document here, version 1 or 2, as application/xml.\n"


class NcipResponder:
    """The responder of the document site. A reload replaces `services`."""

    protocol = "ncip"
    content_type = CONTENT_TYPE

    def __init__(self, services: NcipServices) -> None:
        self.services = services

    @property
    def about(self) -> str:
        """Text for people who open the path in a browser."""
        return ABOUT.format(agency=self.services.agency)

    @property
    def public_keys(self) -> bytes:
        """JSON Web Key Set of our signing keys, or b""."""
        return self.services.public_keys

    @property
    def timeout(self) -> Timeout | None:
        """Time limit for a reply, or None for no limit."""
        return self.services.timeout

    def admits(self, address: str) -> bool:
        """Check whether any caller may connect from an IP address."""
        return self.services.admits(address)

    def serve(self, peers: Peers) -> None:
        """Use these callers and settings from now on."""
        self.services = services_of(peers)

    def refuse_long(self, address: str, size: int) -> None:
        """Log that a document is too long."""
        LOG.warning("ncip.too_long", host=address, bytes=size)

    def respond(self, posted: Posted) -> Deferred[bytes]:
        """Answer a document. Problems have status 200 too."""
        named = charset(posted.content_type)
        return respond(self.services, posted.body, named, posted.peer, posted.prove, posted.challenge, posted.deadline)


class NcipSite(DocumentSite):
    """The HTTP site of the NCIP responder. `services` may be replaced."""

    responder: NcipResponder

    def __init__(self, services: NcipServices, bounds: Bounds, reactor: object, balancers: AllowList = NO_ADDRESS) -> None:
        super().__init__(NcipResponder(services), bounds, reactor, balancers)

    @property
    def services(self) -> NcipServices:
        """The services of the responder."""
        return self.responder.services

    @services.setter
    def services(self, services: NcipServices) -> None:
        self.responder.services = services
