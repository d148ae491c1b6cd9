"""The simulated library system on real sockets: its SIP2 server and its NCIP responder."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.web import resource

from hkall_gateway.ncip.codec import documents
from hkall_gateway.simulator.ils import SimulatedIls
from hkall_gateway.simulator.ils_ncip import IlsResponder
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.session import Close, Refuse, SendBytes, Session


class IlsServer(TwistedProtocol):
    """The simulated library system on a real socket."""

    def __init__(self, system: SimulatedIls) -> None:
        self._system, self._session = system, Session(DIALECTS["standard"])

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's own name
        for event in self._session.receive(data):
            if isinstance(event, Close | Refuse) or self._system.state == "silent":
                continue
            if isinstance(event, SendBytes):
                said = event.data
            else:
                answer = self._system.answer(event, self._session.dialect)
                said = self._session.reply(event, answer.code, answer.fields)
            if self._system.state != "mute" or said.startswith(b"94"):
                transport: Any = self.transport
                transport.write(said)


def listening(system: SimulatedIls) -> object:
    """Return the factory for the SIP2 server of the system."""
    factory: object = Factory.forProtocol(lambda: IlsServer(system))
    return factory


class ResponderPage(resource.Resource):
    """The system's NCIP responder on a real socket: `server.Site(ResponderPage(responder))`."""

    isLeaf = True  # noqa: N815  # Twisted's own name

    def __init__(self, responder: IlsResponder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._responder = responder

    def render_POST(self, request: Any) -> bytes:  # noqa: N802
        request.setHeader(b"content-type", b'application/xml; charset="utf-8"')
        return self._responder.answer(documents.decode(request.content.read()))
