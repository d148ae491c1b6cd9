"""The same document twice and five times, sequentially and concurrently: one effect, the same reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import JOURNAL, NOTICES, OUTBOX, REQUESTS
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.ncip.transport.http import NcipSite
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.vocabulary import Position, Side
from tests.bounds import bounds
from tests.ncip.fields import copy, number

if TYPE_CHECKING:
    from tests.ncip.conftest import World

P = Position
HERE = Peer(address="10.0.0.7")
UG1 = {"AgencyId": "HKU", "UserIdentifierType": "Barcode Id", "UserIdentifierValue": "UG1"}
DUNE = {"BibliographicRecordId": {"BibliographicRecordIdentifier": "b1", "AgencyId": "HKALL"}}
PLACE = {"UnstructuredAddressType": "Newline-Delimited Text", "UnstructuredAddressData": "HKU"}
SENT = {"PhysicalAddress": {"UnstructuredAddress": PLACE, "PhysicalAddressType": "Street Address"}}


def nothing(_world: World) -> None:
    """Leave the world unchanged."""


def asked(world: World) -> None:
    world.place()


def on_loan(world: World) -> None:
    facts = {"due": date(2017, 3, 3), "first_checkout": date(2017, 2, 15), "loan_days": 15, "lender_due": date(2017, 4, 20)}
    world.put(P.ON_LOAN, **facts, used=True)


def brokered(position: Position) -> Callable[[World], None]:
    def put(world: World) -> None:
        loan = {"due": date(2017, 3, 16), "first_checkout": date(2017, 3, 1), "used": True}
        facts = loan if position is P.ON_LOAN else {"pickup_last": date(2017, 3, 6)}
        mine = {"partner": "RESHARE", "wire_agency": "RESHARE", "wire_id": "q-1", "item_agency": "RESHARE"}
        world.put(position, **mine, item_barcode="T1", received_on=date(2017, 3, 1), placed_by="", placed_id="", **facts)

    return put


def paged(world: World) -> None:
    mine = {"side": Side.LENDING, "patron": "", "partner": "RESHARE", "wire_agency": "RESHARE", "wire_id": "q-1"}
    world.put(P.PAGED, **mine, item_agency="HKU", item_barcode="K9", placed_by="", placed_id="")


HOLD = {"RequestId": number("RESHARE", "q-1"), "RequestedActionType": "Hold For Pickup", "ItemId": copy("RESHARE", "T1")}
LENT = {"UserId": {"UserIdentifierValue": "INST-LU"}, "ItemId": copy("HKU", "K9")}
TEMPORARY, BORROWED = copy("RESHARE", "T1"), copy("CUHK", "C1")
WISH = {"BibliographicId": [DUNE], "RequestType": "Loan", "RequestScopeType": "Bibliographic Item"}
ON_ITS_WAY = {"RequestId": number("HKU", "R1-1"), "ItemId": BORROWED, "DateShipped": "2017-03-01T02:00:00Z"}
SHIPPED = {**ON_ITS_WAY, "ShippingInformation": SENT}

# fmt: off
ROWS: Mapping[str, tuple[Callable[[World], None], str, str, dict[str, Any]]] = {
    "RequestItem":             (nothing,              "HKU-DISCOVERY", "RequestItem",  {"UserId": UG1, **WISH}),
    "RequestItem with number": (nothing,              "HKU-DISCOVERY", "RequestItem",
                                {"UserId": UG1, "RequestId": number("HKU-DISCOVERY", "d-1"), **WISH}),
    "ItemShipped":             (asked,                "CUHK",          "ItemShipped",  SHIPPED),
    "AcceptItem":              (nothing,              "RESHARE",       "AcceptItem",   {"UserId": UG1, **HOLD}),
    "CheckOutItem to patron":  (brokered(P.RECEIVED), "RESHARE",       "CheckOutItem", {"UserId": UG1, "ItemId": TEMPORARY}),
    "CheckOutItem to library": (paged,                "RESHARE",       "CheckOutItem", LENT),
    "CheckInItem":             (brokered(P.ON_LOAN),  "RESHARE",       "CheckInItem",  {"ItemId": TEMPORARY}),
    "RenewItem":               (on_loan,              "HKU-DISCOVERY", "RenewItem",    {"UserId": UG1, "ItemId": BORROWED}),
}
# fmt: on


def effects(world: World) -> list[list[Any]]:
    """All stored data except journalled refusals: requests, letters, outbox, journal."""
    return [world.rows(table) for table in (REQUESTS, NOTICES, OUTBOX, JOURNAL)]


@pytest.mark.parametrize("times", [2, 5])
@pytest.mark.parametrize("name", ROWS)
def test_repeated_document_has_one_effect_and_the_same_reply(world: World, name: str, times: int) -> None:
    set_up, agency, service, fields = ROWS[name]
    set_up(world)
    body = world.document(agency, service, **fields)
    first = finished(respond(world.services, body, None, HERE))
    after = effects(world)
    again = {finished(respond(world.services, body, None, HERE)) for _ in range(times - 1)}
    assert b"Problem" not in first
    assert (again, effects(world)) == ({first}, after)


# ---- five at once: all have asked the local system before the first of them is decided


class WaitingIls:
    """A local system that does not reply until told to."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.waiting = inner, list[Deferred[None]]()
        self.supports = inner.supports

    async def borrower(self, card: str) -> BorrowerFacts:
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        await turn
        facts: BorrowerFacts = await self._inner.borrower(card)
        return facts

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, []
        for turn in waiting:
            turn.callback(None)


def post(body: bytes) -> bytes:
    return b"POST /ncip HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Lines:
    """Connections of one site."""

    def __init__(self, world: World) -> None:
        self._site = NcipSite(world.services, bounds(65_536), Clock())

    def connect(self) -> Any:
        address = IPv4Address("TCP", "10.0.0.7", 40000)
        line: Any = StringTransport(peerAddress=address)  # type: ignore[no-untyped-call]  # twisted.testing has no types here
        line.protocol = self._site.buildProtocol(address)  # type: ignore[no-untyped-call]  # nor has twisted.web
        line.protocol.makeConnection(line)
        return line


def replies(data: bytes) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 200 OK")[1:]]


@pytest.mark.parametrize("name", ROWS)
def test_five_concurrent_documents_have_one_effect_and_the_same_reply(world: World, name: str) -> None:
    set_up, agency, service, fields = ROWS[name]
    set_up(world)
    body = world.document(agency, service, **fields)
    alone, ils = Twin(world, name), WaitingIls(world.ils)
    local: Any = world.circulation.ils
    local._ils = ils
    lines = [Lines(world).connect() for _ in range(5)]
    for line in lines:
        line.protocol.dataReceived(post(body))
    while ils.waiting:
        ils.go_on()
    said = [replies(line.value()) for line in lines]
    assert said == [[alone.reply]] * 5
    assert len(world.rows(REQUESTS)) == alone.requests
    assert len(world.rows(OUTBOX)) == alone.told


@pytest.mark.parametrize("name", ROWS)
def test_five_pipelined_documents_have_one_effect_and_the_same_reply(world: World, name: str) -> None:
    set_up, agency, service, fields = ROWS[name]
    set_up(world)
    alone, line = Twin(world, name), Lines(world).connect()
    line.protocol.dataReceived(post(world.document(agency, service, **fields)) * 5)
    assert replies(line.value()) == [alone.reply] * 5
    assert (len(world.rows(REQUESTS)), len(world.rows(OUTBOX))) == (alone.requests, alone.told)


class Twin:
    """The effects of one document in a separate world."""

    def __init__(self, world: World, name: str) -> None:
        twin = type(world)()
        set_up, agency, service, fields = ROWS[name]
        set_up(twin)
        self.reply = finished(respond(twin.services, twin.document(agency, service, **fields), None, HERE))
        self.requests, self.told = len(twin.rows(REQUESTS)), len(twin.rows(OUTBOX))
        twin.store.close()


# ---- another document for the same event


def test_different_document_about_a_received_item_is_known_already(world: World) -> None:
    first, second = (world.ask("RESHARE", "AcceptItem", UserId=UG1, PickupLocation=place, **HOLD) for place in ("A", "B"))
    assert (first.text("Ext/ItemNote"), second.text("Ext/ItemNote")) == ("applied", "known already")
    assert {**first.fields, "Ext": {}} == {**second.fields, "Ext": {}}
    assert len(world.rows(REQUESTS)) == len(world.rows(NOTICES)) == 1


def test_same_barcode_with_another_request_number_is_another_request(world: World) -> None:
    world.ask("RESHARE", "AcceptItem", UserId=UG1, **HOLD)
    world.ask("RESHARE", "DeleteItem", ItemId=copy("RESHARE", "T1"))
    again = world.ask("RESHARE", "AcceptItem", UserId=UG1, **{**HOLD, "RequestId": number("RESHARE", "q-2")})
    assert not again.has("Problem")
    assert [row["position"] for row in world.rows(REQUESTS)] == [P.CLOSED, P.RECEIVED]


def test_item_in_use_cannot_arrive_for_another_patron(world: World) -> None:
    world.ask("RESHARE", "AcceptItem", UserId=UG1, **HOLD)
    other = {**UG1, "UserIdentifierValue": "LATE"}
    assert world.ask("RESHARE", "AcceptItem", UserId=other, **HOLD).text("Problem/ProblemType") == "Cannot Accept Item"
    assert world.store.now(lambda unit: unit.requests.find("R2")) is None
