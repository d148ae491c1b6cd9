"""The small servers for comparison with the gateway, each its own process: `python -m bench.baselines.servers NAME PORT`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from bench.processes import HOST

CANNED: Final = b"<?xml version='1.0'?><m><LookupUserResponse/><RequestItemResponse/>" + b"<x/>" * 300 + b"</m>"
"""About as long as the answers that it replaces."""


def echo(port: int) -> None:
    """A bare Twisted LineReceiver that sends every line back: the upper limit of any server on Twisted."""
    from twisted.internet import protocol
    from twisted.protocols.basic import LineReceiver

    class Echo(LineReceiver):
        delimiter = b"\r"

        def lineReceived(self, line: bytes) -> None:  # noqa: N802
            self.sendLine(line)  # type: ignore[no-untyped-call]  # it has no types

    factory: Any = protocol.Factory.forProtocol(Echo)
    _serve(port, factory)


def canned(port: int) -> None:
    """A twisted.web resource that always returns the same bytes."""
    from twisted.web import resource, server

    class Canned(resource.Resource):
        isLeaf = True  # noqa: N815

        def render_POST(self, request: Any) -> bytes:  # noqa: N802
            request.setHeader(b"content-type", b"application/xml")
            return CANNED

    site: Any = server.Site
    _serve(port, site(Canned()))  # type: ignore[no-untyped-call]


def protocol(port: int) -> None:
    """Our own session and codec with one patron for all cards: the cost of SIP2 itself, without a desk or a database."""
    from twisted.internet.protocol import Factory, Protocol

    from hkall_gateway.daemon import the_reactor
    from hkall_gateway.edge.after_reply import AfterReply
    from hkall_gateway.edge.endpoints import use_write_through
    from hkall_gateway.sip2.codec.dialects import DIALECTS
    from hkall_gateway.sip2.codec.lines import Sip2Message
    from hkall_gateway.sip2.codec.session import Session

    class Line(Protocol):
        def connectionMade(self) -> None:  # noqa: N802
            self.session, self.line = Session(DIALECTS["standard"]), cast(Any, self.transport)

        def dataReceived(self, data: bytes) -> None:  # noqa: N802
            for event in self.session.receive(data):
                assert isinstance(event, Sip2Message)
                self.line.write(self.session.reply(event, "64", {**PATRON, "AA": event.get("AA")}))

    in_a_row = AfterReply(the_reactor()).first  # as the daemon sends
    _serve(port, Factory.forProtocol(Line), lambda opened: use_write_through(opened, in_a_row))


def pysip2(port: int) -> None:
    """Runs pysip2's own server with a dictionary behind it; its loans are not durable."""
    from anyio import run
    from pysip2.models import (
        CheckoutRequest,
        CheckoutResponse,
        EndPatronSessionRequest,
        EndSessionResponse,
        LoginRequest,
        LoginResponse,
        PatronInformationRequest,
        PatronInformationResponse,
    )
    from pysip2.routes import CHECKOUT, END_PATRON_SESSION, LOGIN, PATRON_INFORMATION
    from pysip2.server import SIP2Server

    app, lent = SIP2Server(error_detection="required", encoding="utf-8"), dict[str, str]()
    logging.getLogger("pysip2").setLevel(logging.WARNING)

    @app.route(LOGIN)
    async def login(_asked: LoginRequest, _context: Any) -> LoginResponse:
        return LoginResponse(ok="1")

    @app.route(END_PATRON_SESSION)
    async def end(asked: EndPatronSessionRequest, _context: Any) -> EndSessionResponse:
        return EndSessionResponse(
            end_session="Y",
            transaction_date=WHEN,
            institution_id=asked.institution_id,
            patron_identifier=asked.patron_identifier,
        )

    @app.route(PATRON_INFORMATION)
    async def information(asked: PatronInformationRequest, _context: Any) -> PatronInformationResponse:
        return PatronInformationResponse(
            patron_status=" " * 14,
            language="001",
            transaction_date=WHEN,
            hold_items_count="0002",
            overdue_items_count="0000",
            charged_items_count="0000",
            fine_items_count="0000",
            recall_items_count="0000",
            unavailable_holds_count="0000",
            institution_id="HKU",
            patron_identifier=asked.patron_identifier,
            personal_name="Reader",
            valid_patron="Y",
            currency_type="HKD",
            fee_amount="0.00",
            hold_items=BOOKS,
        )

    @app.route(CHECKOUT)
    async def checkout(asked: CheckoutRequest, _context: Any) -> CheckoutResponse:
        lent[asked.item_identifier] = asked.patron_identifier
        return CheckoutResponse(
            ok="1",
            renewal_ok="N",
            magnetic_media="N",
            desensitize="Y",
            transaction_date=WHEN,
            institution_id="HKU",
            patron_identifier=asked.patron_identifier,
            item_identifier=asked.item_identifier,
            title_identifier="Title 1",
            due_date="20261210    235959",
        )

    run(app.serve, HOST, port)


def aiohttp(port: int) -> None:
    """aiohttp with lxml doing the same XML as a LookupUser: parsed without entities, read, answered by a new document."""
    from aiohttp import web
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)

    async def answer(request: web.Request) -> web.Response:
        asked = etree.fromstring(await request.read(), parser)
        card = asked.findtext(f".//{{{NCIP}}}UserIdentifierValue") or ""
        return web.Response(body=_user(card), content_type="application/xml")

    app = web.Application()
    app.router.add_post("/ncip", answer)
    web.run_app(app, host=HOST, port=port, print=None, access_log=None)


def _user(card: str) -> bytes:
    from lxml import etree

    top = etree.Element(f"{{{NCIP}}}NCIPMessage", nsmap={"ns1": NCIP})
    answer = etree.SubElement(top, f"{{{NCIP}}}LookupUserResponse")
    for path in USER:
        at = answer
        for name in path.split("/"):
            at = etree.SubElement(at, f"{{{NCIP}}}{name}")
        at.text = card
    return etree.tostring(top, xml_declaration=True, encoding="UTF-8")


def _serve(port: int, factory: Any, opened: Callable[[Any], Any] = lambda port: port) -> None:
    """Listens on `port` and runs the reactor; `opened` is applied to the listening port."""
    from hkall_gateway.daemon import the_reactor

    reactor = the_reactor()
    opened(reactor.listenTCP(port, factory, 512, HOST))
    reactor.run()


NCIP: Final = "http://www.niso.org/2008/ncip"
_ITEM: Final = ("ItemId/AgencyId", "ItemId/ItemIdentifierType", "ItemId/ItemIdentifierValue", "Title")
_REQUEST: Final = ("RequestType", "RequestStatusType", "DatePlaced", "PickupLocation")
_BOOK: Final = tuple(f"RequestedItem/{path}" for path in (*_ITEM, *_REQUEST))
USER: Final = ("ResponseHeader/FromAgencyId/AgencyId", "UserId/AgencyId", "UserId/UserIdentifierValue", *_BOOK, *_BOOK)
"""About as many elements as an answer with two books."""

WHEN: Final = "20170301    120000"
BOOKS: Final = ("C0000002", "C0000003")
PATRON: Final[Mapping[str, str | tuple[str, ...]]] = {
    "patron_status": " " * 14,
    "language": "001",
    "transaction_date": WHEN,
    "hold_items_count": "2",
    "overdue_items_count": "0",
    "charged_items_count": "0",
    "fine_items_count": "0",
    "recall_items_count": "0",
    "unavailable_holds_count": "0",
    "AO": "HKU",
    "AE": "Reader",
    "BL": "Y",
    "CQ": "N",
    "BH": "HKD",
    "BV": "0.00",
    "CB": "0015",
    "AS": BOOKS,
}
"""The fields of a 64 with two books."""

# fmt: off
SERVERS: Final[Mapping[str, Callable[[int], None]]] = {
    "echo":     echo,
    "canned":   canned,
    "protocol": protocol,
    "pysip2":   pysip2,
    "aiohttp":  aiohttp,
}
# fmt: on
"""The servers by the names of their subjects."""


if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
