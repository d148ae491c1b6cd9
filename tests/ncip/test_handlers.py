"""One request document and its reply: permissions, lookup contents, and errors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, MutableMapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from hkall_gateway.db.tables import FINES
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import encode
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.handlers import HANDLERS
from hkall_gateway.ncip.service_request import LINES_A_MINUTE
from hkall_gateway.observability.log_context import logged_context
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.vocabulary import Position
from tests.metrics import value
from tests.ncip.fields import number, problem
from tests.ncip.fields import typed_copy as copy

if TYPE_CHECKING:
    from tests.ncip.conftest import World

P = Position
DISCOVERY, CUHK, LU = "HKU-DISCOVERY", "CUHK", "LU"
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
UG1 = {"AgencyId": "HKU", "UserIdentifierType": "Barcode Id", "UserIdentifierValue": "UG1"}
DUNE = {"BibliographicRecordId": {"BibliographicRecordIdentifier": "b1", "AgencyId": "HKALL"}}
LOAN = {"RequestType": "Loan", "RequestScopeType": "Bibliographic Item"}


# ---- who may ask


def test_every_handler_row_names_a_known_service() -> None:
    assert HANDLERS.keys() <= SHAPES.keys()


@pytest.mark.parametrize(
    ("agency", "secret", "address", "says"),
    [
        (DISCOVERY, "wrong", "10.0.0.7", "Agency Authentication Failed"),
        (DISCOVERY, "d-key", "192.0.2.1", "Agency Authentication Failed"),
        (DISCOVERY, "c-key", "10.0.0.7", "Agency Authentication Failed"),
        ("NOBODY", "d-key", "10.0.0.7", "Unknown Agency"),
        ("MUTE", "", "10.0.0.7", "Agency Authentication Failed"),
    ],
)
def test_agency_is_answered_only_with_its_secret_from_its_address(
    world: World, agency: str, secret: str, address: str, says: str
) -> None:
    reply = world.send(world.document(agency, "LookupUser", secret, UserId=UG1), Peer(address=address))
    assert (reply.service, problem(reply)) == ("LookupUserResponse", says)


def test_document_without_a_header_gets_a_problem_naming_the_header(world: World) -> None:
    reply = world.send(encode(NcipMessage(service="LookupUser", fields={"UserId": UG1}), DIALECTS["direct"]))
    assert problem(reply) == "Needed Data Missing"


@pytest.mark.parametrize("service", ["ItemShipped", "ItemReceived", "ItemRequestCancelled"])
def test_client_cannot_act_as_a_library(world: World, service: str) -> None:
    kinds = {"UserId": UG1, "RequestType": "Loan"} if service == "ItemRequestCancelled" else {}
    reply = world.ask(DISCOVERY, service, ItemId=copy("CUHK", "C1"), RequestId=number("HKU", "R1-1"), **kinds)
    assert problem(reply) == "Unauthorized Service For Agency"


def test_partner_cannot_look_up_our_patrons(world: World) -> None:
    assert problem(world.ask(CUHK, "LookupUser", UserId=UG1)) == "Unauthorized Service For Agency"


def test_known_unsupported_service_gets_its_own_response(world: World) -> None:
    reply = world.ask(CUHK, "DeleteUser", UserId=UG1)
    assert (reply.service, problem(reply)) == ("DeleteUserResponse", "Unsupported Service")


# ---- look-ups


def test_patron_data_is_limited_to_the_requested_elements(world: World) -> None:
    reply = world.ask(DISCOVERY, "LookupUser", UserId=UG1)
    assert reply.fields.keys() == {"ResponseHeader", "UserId"}


def test_patron_data_includes_loans_requests_charges_and_name_on_request(world: World) -> None:
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
    unit.connection.execute(insert(FINES), row)


def test_unknown_patron_gets_an_unknown_user_problem(world: World) -> None:
    reply = world.ask(DISCOVERY, "LookupUser", UserId={"AgencyId": "HKU", "UserIdentifierValue": "X"})
    assert (problem(reply), reply.text("Problem/ProblemValue")) == ("Unknown User", "X")


def test_patron_of_another_library_is_unknown(world: World) -> None:
    assert problem(world.ask(DISCOVERY, "LookupUser", UserId={**UG1, "AgencyId": "CUHK"})) == "Unknown User"


@pytest.mark.parametrize(("card", "pin", "says"), [("UG1", "1234", ""), ("UG1", "0", "User"), ("NOBODY", "1234", "User")])
def test_wrong_card_and_wrong_pin_get_the_same_reply(world: World, card: str, pin: str, says: str) -> None:
    inputs = [
        {"AuthenticationInputData": data, "AuthenticationDataFormatType": "text/plain", "AuthenticationInputType": kind}
        for data, kind in ((card, "Barcode Id"), (pin, "PIN"))
    ]
    reply = world.ask(DISCOVERY, "LookupUser", AuthenticationInput=inputs)
    assert problem(reply) == (f"{says} Authentication Failed" if says else "")


def test_lookup_of_our_item_returns_its_status(world: World) -> None:
    reply = world.ask(CUHK, "LookupItem", ItemId=copy("HKU", "K9"))
    assert reply.text("ItemOptionalFields/CirculationStatus") == "Available On Shelf"
    assert reply.text("ItemOptionalFields/BibliographicDescription/Title") == "酒徒"


def test_item_is_found_by_its_request(world: World) -> None:
    world.put(P.ON_LOAN, due=date(2017, 3, 16))
    reply = world.ask(DISCOVERY, "LookupItem", RequestId=number(DISCOVERY, "d-1"))
    assert reply.text("ItemId/ItemIdentifierValue") == "C1"
    assert reply.text("ItemOptionalFields/CirculationStatus") == "On Loan"
    assert reply.text("ItemOptionalFields/DateDue") == "2017-03-16T23:59:59+08:00"


# ---- what goes wrong


def test_exception_in_a_handler_is_answered_and_logged_once(world: World) -> None:
    with capture_logs() as logs:
        reply = world.ask(DISCOVERY, "LookupUser", UserId={"UserIdentifierValue": "BOOM"})
    assert (reply.service, problem(reply)) == ("LookupUserResponse", "Temporary Processing Failure")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["ncip.handler_failed"]


def test_database_outage_is_answered_in_protocol_and_logs_no_bug(world: World) -> None:
    with capture_logs() as logs:
        reply = world.ask(DISCOVERY, "LookupUser", UserId={"UserIdentifierValue": "AWAY"})
    assert (reply.service, problem(reply)) == ("LookupUserResponse", "Temporary Processing Failure")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == []


def test_document_is_logged_in_one_line_without_secret_or_card(world: World) -> None:
    with capture_logs() as logs:
        world.place()
    assert [line["event"] for line in logs] == ["ncip.answered"]
    assert not {"d-key", "UG1"} & set(str(logs).replace("'", " ").split())


def test_sender_name_of_an_unknown_caller_is_logged(world: World) -> None:
    with capture_logs() as logs:
        world.ask("CUKH", "LookupAgency", AgencyId="HKU", AgencyElementType=["Organization Name Information"])
        world.ask(CUHK, "LookupAgency", AgencyId="HKU", AgencyElementType=["Organization Name Information"])
    assert [(line["peer"], line.get("claimed")) for line in logs] == [("unknown", "CUKH"), (CUHK, None)]


def test_log_lines_about_unknown_callers_are_limited_and_counted(world: World) -> None:
    question: Any = {"AgencyId": "HKU", "AgencyElementType": ["Organization Name Information"]}
    with capture_logs() as logs:
        for _ in range(LINES_A_MINUTE + 20):
            world.ask("CUKH", "LookupAgency", **question)
            world.send(b"<a/>")
        forged = [world.send(world.document(CUHK, "LookupAgency", "guessed", **question)) for _ in range(LINES_A_MINUTE + 1)]
        world.send(world.document(CUHK, "LookupAgency", **question), Peer(address="10.0.0.99"))

    assert Counter(line["peer"] for line in logs) == {"unknown": LINES_A_MINUTE, CUHK: LINES_A_MINUTE + 1}
    assert problem(forged[0])
    assert logs[-1]["outcome"] == "ok"
    metrics = world.services.metrics
    assert value(metrics, "ncip_errors_total", "unknown", "problem") == LINES_A_MINUTE + 20
    assert value(metrics, "ncip_errors_total", "unknown", "xml") == LINES_A_MINUTE + 20

    world.now += timedelta(minutes=2)
    with capture_logs() as logs:
        world.ask("CUKH", "LookupAgency", **question)
    assert logs[0]["left_out"] == LINES_A_MINUTE + 40


def test_repeated_document_keeps_its_correlation_only_if_its_sender_is_authenticated(world: World) -> None:
    """Hashing a document costs more than refusing its sender, so that a stranger's documents are not hashed."""
    correlations = dict[str, list[object]]()
    for secret in ("", "guessed"):
        for _ in range(2):
            world.now += timedelta(seconds=1)
            with capture_logs(processors=[_add_context]) as logs:
                world.send(world.document(CUHK, "ItemReceived", secret, RequestId=number(CUHK, "1"), ItemId=copy(CUHK, "C1")))
            correlations.setdefault(secret, []).extend(line["corr_id"] for line in logs if line["event"] == "ncip.answered")
    ours, foreign = correlations.values()
    assert len(set(ours)) == 1
    assert len(set(foreign)) == len(foreign) == 2


def _add_context(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {**logged_context(), **event}


# ---- agencies in another case


def test_reply_header_names_us_as_the_requester_does(world: World) -> None:
    """A peer compares the agency that answers with the name under which it has configured us."""
    body = world.document(DISCOVERY, "LookupUser", "d-key", UserId=UG1)
    ours = re.compile(rb"(ToAgencyId>\s*<[\w:]*AgencyId[^>]*>)HKU<")
    reply = world.send(ours.sub(rb"\1Hku<", body))
    assert ours.search(body)
    assert reply.text("ResponseHeader/FromAgencyId/AgencyId") == "Hku"


def test_agency_is_case_insensitive(world: World) -> None:
    wish: Any = {"UserId": {**UG1, "AgencyId": "hku"}, "BibliographicId": [DUNE], "RequestId": number("Hku-Discovery", "d-9")}
    reply = world.send(world.document("hku-discovery", "RequestItem", "d-key", **wish, **LOAN))
    assert (problem(reply), reply.text("ResponseHeader/ToAgencyId/AgencyId")) == ("", "hku-discovery")
    assert (world.request("R1").placed_by, world.request("R1").patron) == (DISCOVERY, "UG1")
    assert problem(world.ask(DISCOVERY, "LookupRequest", RequestId=number(DISCOVERY, "d-9"))) == ""
    place = {"UnstructuredAddressType": "Newline-Delimited Text", "UnstructuredAddressData": "HKU"}
    address = {"PhysicalAddress": {"UnstructuredAddress": place, "PhysicalAddressType": "Street Address"}}
    lender = world.request("R1").partner
    secret, barcode = {CUHK: ("c-key", "C1"), LU: ("l-key", "L1")}[lender]
    news: Any = {"RequestId": number("hku", "R1-1"), "ItemId": copy(lender.lower(), barcode), "DateShipped": "2017-03-01"}
    body = world.document(lender.lower(), "ItemShipped", secret, **news, ShippingInformation=address)
    assert problem(world.send(body)) == ""
    assert (world.request("R1").position, world.request("R1").item_agency) == (P.IN_TRANSIT, lender)


# ---- the number in Ext


def test_every_reply_echoes_the_callers_request_number_if_configured(world: World) -> None:
    world.admit(CUHK, request_id_in_ext=True)
    wire = number(CUHK, "7:SUPPLIER")

    wish = {"UserId": {"UserIdentifierValue": "X"}, "ItemId": [copy("HKU", "?")], **LOAN}
    refused = world.ask(CUHK, "RequestItem", RequestId=wire, **wish)
    told = world.ask(CUHK, "ItemShipped", ItemId=copy("CUHK", "C1"), RequestId=wire)

    assert problem(refused)
    assert [reply.text("Ext/RequestId/RequestIdentifierValue") for reply in (refused, told)] == ["7:SUPPLIER"] * 2
