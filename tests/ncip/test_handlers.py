"""One document in, one document out: who may ask what, and what the desk's answer reads like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import insert, select
from structlog.testing import capture_logs

from hkall_gateway.desk.desk import Desk
from hkall_gateway.desk.house import House
from hkall_gateway.desk.ports import BorrowerFacts, Verb
from hkall_gateway.edge.counters import Counters
from hkall_gateway.ncip.codec import decode, encode
from hkall_gateway.ncip.dialects import DIALECTS
from hkall_gateway.ncip.handlers import HANDLERS, Caller, Door, Peer, copy_of, respond
from hkall_gateway.ncip.messages import SHAPES, Fields, Message
from hkall_gateway.rules.calendar import HONG_KONG
from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.records import to_json
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import By, Holding, Partner, Position, Request, Sensitive, Side
from hkall_gateway.store.database import Immediate, finished
from hkall_gateway.store.engine import open_engine
from hkall_gateway.store.tables import FINES, HOLDINGS, INBOX, LINKS, PATRONS, REQUESTS, create_all
from hkall_gateway.store.unit import Unit

XSD = Path("/work/shared/ncip/xsd/ncip_v2_02.xsd")
SCHEMA = etree.XMLSchema(etree.parse(XSD)) if XSD.exists() else None
HERE = Peer("10.0.0.7")
DISCOVERY, CUHK, LU = "HKU-DISCOVERY", "CUHK", "LU"
P = Position
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)

UG1 = {"AgencyId": "HKU", "UserIdentifierType": "Barcode Id", "UserIdentifierValue": "UG1"}
DUNE = {"BibliographicRecordId": {"BibliographicRecordIdentifier": "b1", "AgencyId": "HKALL"}}
LOAN = {"RequestType": "Loan", "RequestScopeType": "Bibliographic Item"}


def number(agency: str, value: str) -> Fields:
    return {"AgencyId": agency, "RequestIdentifierValue": value}


def copy(agency: str, barcode: str) -> Fields:
    return {"AgencyId": agency, "ItemIdentifierType": "Barcode", "ItemIdentifierValue": barcode}


class LocalIls:
    """The library's own system, answering from what was loaded; everybody's PIN is 1234."""

    supports = frozenset({Verb.BORROWER, Verb.VERIFY_PIN})

    def __init__(self, store: Immediate) -> None:
        self._store = store

    async def borrower(self, card: str) -> BorrowerFacts:
        if card == "BOOM":
            raise RuntimeError("a bug behind the desk")
        return BorrowerFacts(await self._store.read(Unit.patron, card), "snapshot")

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        return pin == Sensitive("1234")

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        return None


PEOPLE: tuple[dict[str, Any], ...] = (
    {"barcode": "UG1", "name": "Chan Tai Man", "email": "ug1@lib.test", "category": "undergraduates", "total_quota": 60},
    {"barcode": "LATE", "name": "Late Lee", "category": "undergraduates", "expires": date(2017, 1, 31)},
)
BOOKS: tuple[dict[str, Any], ...] = (
    {"agency": "CUHK", "barcode": "C1", "bib_id": "b1", "title": "Dune"},
    {"agency": "LU", "barcode": "L1", "bib_id": "b1", "title": "Dune"},
    {"agency": "HKU", "barcode": "K9", "bib_id": "blend", "title": "酒徒", "call_number": "PL2862"},
)


class World:
    """A door with a real desk behind it."""

    def __init__(self) -> None:
        self.now = NOW
        engine = open_engine("sqlite://")
        create_all(engine)
        with engine.connect() as connection:
            connection.execute(insert(PATRONS), [{"expires": None, "email": "", "total_quota": None, **p} for p in PEOPLE])
            connection.execute(insert(HOLDINGS), [{"call_number": "", **book} for book in BOOKS])
            for agency in (CUHK, LU):
                connection.execute(insert(LINKS), {"agency": agency, "partner": to_json(Partner(agency, agency))})
        numbers = count(1)
        self.store = Immediate(engine, lambda connection: Unit(connection, lambda: f"R{next(numbers)}"))
        house = House("HKU", "HKU Libraries", Policy(), ("HKU-MAIN-LENDING",))
        desk = Desk(self.store, LocalIls(self.store), lambda: house, lambda: self.now)
        net = ("10.0.0.0/8",)
        rows = (
            Caller(DISCOVERY, "d-key", "client", net),
            Caller(CUHK, "c-key", "partner", net),
            Caller(LU, "l-key", "partner", net),
        )
        callers = {row.agency: row for row in rows} | {"MUTE": Caller("MUTE", "", "partner", net)}
        self.door = Door(desk, callers, "HKU", HONG_KONG, {}, Counters(), lambda: self.now, copy_of(self.store))

    def document(self, agency: str, service: str, secret: str = "", **fields: Any) -> bytes:
        """A document of an agency, with the agency's own secret unless another is given."""
        caller = self.door.callers.get(agency)
        header: dict[str, Any] = {"FromAgencyId": {"AgencyId": agency}, "ToAgencyId": {"AgencyId": "HKU"}}
        header["FromAgencyAuthentication"] = secret or (caller.secret if caller else "")
        return encode(Message(service, {"InitiationHeader": header, **fields}), DIALECTS["direct"])

    def send(self, body: bytes, peer: Peer = HERE) -> Message:
        """The reply to a document; it must be valid."""
        return read(finished(respond(self.door, body, None, peer)))

    def ask(self, agency: str, service: str, **fields: Any) -> Message:
        return self.send(self.document(agency, service, **fields))

    def place(self, value: str = "d-77", user: Fields = UG1, **more: Any) -> Message:
        request = {"RequestId": number(DISCOVERY, value), "BibliographicId": [DUNE], "UserId": user, **LOAN, **more}
        return self.ask(DISCOVERY, "RequestItem", **request)

    def put(self, position: Position, **facts: Any) -> Request:
        """A request as it stands; unless said, UG1 borrows C1 of CUHK."""
        given: dict[str, Any] = {"side": Side.BORROWING, "title": "Dune", "bib_id": "b1", "patron": "UG1", "partner": CUHK}
        given |= {"item_agency": "CUHK", "item_barcode": "C1", "placed_by": DISCOVERY, "placed_id": "d-1", **facts}
        return self.store.now(Unit.open, Request(id="", position=position, **given), self.now, By("test", "world"))

    def request(self, value: str) -> Request:
        found = self.store.now(Unit.request, value)
        assert found is not None
        return found

    def rows(self, table: Any) -> list[Any]:
        return list(self.store.now(lambda unit: unit._connection.execute(select(table)).mappings().all()))


def read(reply: bytes) -> Message:
    if SCHEMA is not None:
        SCHEMA.assertValid(etree.fromstring(reply))
    return decode(reply)


def problem(reply: Message) -> str:
    return reply.text("Problem/ProblemType")


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.store.close()


# ---- who may ask


def test_every_row_of_the_table_is_a_known_service() -> None:
    assert HANDLERS.keys() <= SHAPES.keys()


@pytest.mark.parametrize(
    ("agency", "secret", "address", "says"),
    [
        (DISCOVERY, "wrong", "10.0.0.7", "Agency Authentication Failed"),
        (DISCOVERY, "d-key", "192.0.2.1", "Agency Authentication Failed"),
        (DISCOVERY, "c-key", "10.0.0.7", "Unauthorized Combination Of Element Values For Agency"),
        ("NOBODY", "d-key", "10.0.0.7", "Unknown Agency"),
        ("MUTE", "", "10.0.0.7", "Agency Authentication Failed"),
    ],
)
def test_only_an_agency_with_its_own_secret_from_its_own_address_is_answered(
    world: World, agency: str, secret: str, address: str, says: str
) -> None:
    reply = world.send(world.document(agency, "LookupUser", secret, UserId=UG1), Peer(address))
    assert (reply.service, problem(reply)) == ("LookupUserResponse", says)


def test_a_document_without_a_header_is_told_what_it_lacks(world: World) -> None:
    reply = world.send(encode(Message("LookupUser", {"UserId": UG1}), DIALECTS["direct"]))
    assert problem(reply) == "Needed Data Missing"


@pytest.mark.parametrize("service", ["ItemShipped", "ItemReceived", "ItemRequestCancelled"])
def test_a_client_may_not_speak_as_a_library(world: World, service: str) -> None:
    kinds = {"UserId": UG1, "RequestType": "Loan"} if service == "ItemRequestCancelled" else {}
    reply = world.ask(DISCOVERY, service, ItemId=copy("CUHK", "C1"), RequestId=number("HKU", "R1-1"), **kinds)
    assert problem(reply) == "Unauthorized Service For Agency"


def test_a_partner_may_not_look_at_our_patrons(world: World) -> None:
    assert problem(world.ask(CUHK, "LookupUser", UserId=UG1)) == "Unauthorized Service For Agency"


def test_a_known_service_that_is_not_done_is_answered_by_its_own_response(world: World) -> None:
    reply = world.ask(CUHK, "RecallItem", ItemId=copy("HKU", "K9"))
    assert (reply.service, problem(reply)) == ("RecallItemResponse", "Unsupported Service")


# ---- look-ups


def test_a_patron_shows_only_what_was_desired(world: World) -> None:
    reply = world.ask(DISCOVERY, "LookupUser", UserId=UG1)
    assert reply.fields.keys() == {"ResponseHeader", "UserId"}


def test_a_patron_shows_loans_requests_debts_and_name_when_asked_for_them(world: World) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 16))
    world.put(P.RECEIVED, item_barcode="C2", placed_id="d-2", pickup_last=date(2017, 3, 6), pickup_location="HKU-MAIN-LENDING")
    world.store.now(_charge, 1250)
    flags = {"LoanedItemsDesired": True, "RequestedItemsDesired": True, "UserFiscalAccountDesired": True}
    reply = world.ask(DISCOVERY, "LookupUser", UserId=UG1, UserElementType=["Name Information", "User Privilege"], **flags)
    assert reply.text("LoanedItem/ItemId/ItemIdentifierValue") == "C1"
    assert reply.text("LoanedItem/DateDue") == "2017-03-16T23:59:59+08:00"
    assert reply.text("RequestedItem/RequestId/RequestIdentifierValue") == "d-2"
    assert reply.text("RequestedItem/RequestStatusType") == "Available For Pickup"
    assert reply.text("UserFiscalAccount/AccountBalance/MonetaryValue") == "1250"
    assert "Chan Tai Man" in reply.text(
        "UserOptionalFields/NameInformation/PersonalNameInformation/UnstructuredPersonalUserName"
    )
    assert not reply.has("UserOptionalFields/UserAddressInformation")


def _charge(unit: Any, cents: int) -> None:
    row = {"request": "R1", "patron": "UG1", "kind": "overdue", "cents": cents, "currency": "HKD", "at": NOW, "reason": "R40"}
    unit._connection.execute(insert(FINES), row)


def test_an_unknown_patron_is_unknown(world: World) -> None:
    reply = world.ask(DISCOVERY, "LookupUser", UserId={"AgencyId": "HKU", "UserIdentifierValue": "X"})
    assert (problem(reply), reply.text("Problem/ProblemValue")) == ("Unknown User", "X")


def test_the_patron_of_another_library_is_unknown(world: World) -> None:
    assert problem(world.ask(DISCOVERY, "LookupUser", UserId={**UG1, "AgencyId": "CUHK"})) == "Unknown User"


@pytest.mark.parametrize(("card", "pin", "says"), [("UG1", "1234", ""), ("UG1", "0", "User"), ("NOBODY", "1234", "User")])
def test_with_a_pin_a_wrong_card_and_a_wrong_pin_read_the_same(world: World, card: str, pin: str, says: str) -> None:
    inputs = [
        {"AuthenticationInputData": data, "AuthenticationDataFormatType": "text/plain", "AuthenticationInputType": kind}
        for data, kind in ((card, "Barcode Id"), (pin, "PIN"))
    ]
    reply = world.ask(DISCOVERY, "LookupUser", AuthenticationInput=inputs)
    assert problem(reply) == (f"{says} Authentication Failed" if says else "")


def test_a_copy_of_ours_tells_its_state(world: World) -> None:
    reply = world.ask(CUHK, "LookupItem", ItemId=copy("HKU", "K9"))
    assert reply.text("ItemOptionalFields/CirculationStatus") == "Available On Shelf"
    assert reply.text("ItemOptionalFields/BibliographicDescription/Title") == "酒徒"


def test_a_copy_is_found_by_the_request_that_it_is_for(world: World) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 16))
    reply = world.ask(DISCOVERY, "LookupItem", RequestId=number(DISCOVERY, "d-1"))
    assert reply.text("ItemId/ItemIdentifierValue") == "C1"
    assert reply.text("ItemOptionalFields/CirculationStatus") == "On Loan"
    assert reply.text("ItemOptionalFields/DateDue") == "2017-03-16T23:59:59+08:00"


# ---- requests of our patrons


def test_a_patrons_wish_is_placed_and_the_first_lender_is_asked(world: World) -> None:
    reply = world.place(PickupLocation="HKU-MAIN-LENDING")
    assert reply.text("RequestId/RequestIdentifierValue") == "d-77"
    assert reply.text("UserId/UserIdentifierValue") == "UG1"
    assert reply.text("ResponseHeader/ToAgencyId/AgencyId") == DISCOVERY
    assert [row.send for row in world.store.now(lambda unit: unit.outbox.rows())] == [Send.ASK_LENDER]


@pytest.mark.parametrize("times", [2, 5])
def test_the_same_document_again_is_one_request_and_the_same_reply(world: World, times: int) -> None:
    ask = {"UserId": UG1, "BibliographicId": [DUNE], "RequestId": number(DISCOVERY, "d-77"), **LOAN}
    body = world.document(DISCOVERY, "RequestItem", **ask)
    replies = {finished(respond(world.door, body, None, HERE)) for _ in range(times)}
    assert (len(replies), len(world.rows(REQUESTS))) == (1, 1)


def test_a_request_without_a_number_is_answered_with_ours(world: World) -> None:
    reply = world.ask(DISCOVERY, "RequestItem", UserId=UG1, BibliographicId=[DUNE], **LOAN)
    assert (reply.text("RequestId/AgencyId"), reply.text("RequestId/RequestIdentifierValue")) == ("HKU", "R1")


def test_a_document_without_an_occasion_is_forgotten_after_a_quarter_of_an_hour(world: World) -> None:
    world.ask(DISCOVERY, "RequestItem", UserId=UG1, BibliographicId=[DUNE], **LOAN)
    assert world.rows(INBOX)[0]["keep_until"] == NOW + timedelta(minutes=15)


def test_a_document_with_a_request_is_kept_for_thirty_days(world: World) -> None:
    world.place()
    assert world.rows(INBOX)[0]["keep_until"] == NOW + timedelta(days=30)


def test_a_refusal_names_the_rule_the_element_and_its_value(world: World) -> None:
    reply = world.place(user={**UG1, "UserIdentifierValue": "LATE"})
    assert problem(reply) == "User Ineligible To Request This Item"
    assert reply.text("Problem/ProblemDetail").startswith("R2: ")
    assert (reply.text("Problem/ProblemElement"), reply.text("Problem/ProblemValue")) == ("UserId", "LATE")


def test_a_patron_cancels_in_time(world: World) -> None:
    world.place()
    cancel = {"UserId": UG1, "RequestId": number(DISCOVERY, "d-77"), "RequestType": "Loan"}
    reply = world.ask(DISCOVERY, "CancelRequestItem", **cancel)
    assert (problem(reply), reply.text("UserId/UserIdentifierValue")) == ("", "UG1")
    assert world.request("R1").position is P.CANCELLING


def test_nobody_cancels_for_another_patron(world: World) -> None:
    world.place()
    other = {**UG1, "UserIdentifierValue": "LATE"}
    reply = world.ask(DISCOVERY, "CancelRequestItem", UserId=other, RequestId=number(DISCOVERY, "d-77"), RequestType="Loan")
    assert problem(reply) == "Unknown Request"


def test_a_renewal_tells_the_new_date_with_its_zone(world: World) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 2), first_checkout=date(2017, 2, 15), loan_days=15, lender_due=date(2017, 4, 20))
    reply = world.ask(DISCOVERY, "RenewItem", UserId=UG1, ItemId=copy("CUHK", "C1"))
    assert reply.text("DateDue").endswith("T23:59:59+08:00")
    assert reply.text("RenewalCount") == "1"


# ---- what partners ask and tell


def test_a_partner_borrows_a_copy_of_ours(world: World) -> None:
    title = {"BibliographicRecordId": {"BibliographicRecordIdentifier": "blend", "AgencyId": "HKALL"}}
    institution = {"AgencyId": "HKU", "UserIdentifierValue": "CUHK-INST"}
    ask = {"UserId": institution, "BibliographicId": [title], "RequestId": number(CUHK, "c-1"), **LOAN}
    reply = world.ask(CUHK, "RequestItem", **ask)
    assert reply.text("ItemId/ItemIdentifierValue") == "K9"
    assert reply.text("UserId/UserIdentifierValue") == "CUHK-INST"
    assert world.request("R1").position is P.PAGED


def asked(world: World) -> str:
    """UG1's request of CUHK, and the number under which CUHK knows it."""
    world.place()
    return world.request("R1").wire_id


def shipped(wire_id: str, due: str = "2017-04-20T15:59:59Z") -> dict[str, Any]:
    place = {"UnstructuredAddressType": "Newline-Delimited Text", "UnstructuredAddressData": "HKU"}
    to = {"PhysicalAddress": {"UnstructuredAddress": place, "PhysicalAddressType": "Street Address"}}
    said: dict[str, Any] = {"RequestId": number("HKU", wire_id), "ItemId": copy("CUHK", "C1"), "ShippingInformation": to}
    return said | {"DateShipped": "2017-03-01T02:00:00Z", "ItemOptionalFields": {"DateDue": due}}


def test_a_shipment_is_noted_and_answered_by_an_empty_response(world: World) -> None:
    reply = world.ask(CUHK, "ItemShipped", **shipped(asked(world)))
    assert reply.fields.keys() == {"ResponseHeader"}
    assert (world.request("R1").position, world.request("R1").lender_due) == (P.IN_TRANSIT, date(2017, 4, 20))


@pytest.mark.parametrize(("meant", "day"), [("instant", date(2017, 4, 21)), ("date_only", date(2017, 4, 20))])
def test_a_due_date_is_read_as_its_partner_means_it(world: World, meant: str, day: date) -> None:
    callers = {**world.door.callers, CUHK: replace(world.door.callers[CUHK], date_semantics=meant)}
    world.door = replace(world.door, callers=callers)
    world.ask(CUHK, "ItemShipped", **shipped(asked(world), "2017-04-20T23:00:00Z"))
    assert world.request("R1").lender_due == day


def test_a_library_may_not_ship_what_another_was_asked_for(world: World) -> None:
    wire_id = asked(world)
    reply = world.ask(LU, "ItemShipped", **{**shipped(wire_id), "ItemId": copy("LU", "L1")})
    assert problem(reply) == "Unauthorized Combination Of Element Values For Agency"
    assert world.request("R1").position is P.REQUESTED


def test_a_lender_that_declines_makes_room_for_the_next(world: World) -> None:
    wire_id = asked(world)
    said = {"UserId": {"AgencyId": "CUHK", "UserIdentifierValue": "HKU-INST"}, "RequestType": "Loan"}
    world.ask(CUHK, "ItemRequestCancelled", RequestId=number("HKU", wire_id), **said)
    assert world.request("R1").partner == LU


def test_a_lender_has_its_copy_back(world: World) -> None:
    request = world.put(P.RETURN_TRANSIT, wire_agency="HKU", wire_id="R1-1")
    world.ask(CUHK, "ItemReceived", ItemId=copy("CUHK", "C1"), DateReceived="2017-03-19T03:00:00Z")
    assert world.request(request.id).position is P.CLOSED


# ---- what goes wrong


def test_a_bug_is_answered_politely_and_logged_once(world: World) -> None:
    with capture_logs() as logs:
        reply = world.ask(DISCOVERY, "LookupUser", UserId={"UserIdentifierValue": "BOOM"})
    assert (reply.service, problem(reply)) == ("LookupUserResponse", "Temporary Processing Failure")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["ncip.handler_failed"]


def test_one_line_is_logged_and_it_shows_neither_secret_nor_card(world: World) -> None:
    with capture_logs() as logs:
        world.place()
    assert [line["event"] for line in logs] == ["ncip.answered"]
    assert not {"d-key", "UG1"} & set(str(logs).replace("'", " ").split())
