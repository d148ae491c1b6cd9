"""Quarantine of notifications that match no request: what is stored, what is not, and reprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.db import quarantine
from hkall_gateway.db.database import finished
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.handlers import replay_document
from hkall_gateway.rules.stored_words import QuarantineState
from hkall_gateway.rules.vocabulary import Position, Side

if TYPE_CHECKING:
    from tests.ncip.conftest import World

CUHK, DISCOVERY = "CUHK", "HKU-DISCOVERY"
LENT = {"side": Side.LENDING, "patron": "", "placed_by": "", "placed_id": "", "wire_agency": CUHK, "wire_id": "c-1"}
OURS = {"AgencyId": "HKU", "ItemIdentifierValue": "K9"}
THEIRS = {"AgencyId": CUHK, "ItemIdentifierValue": "C1"}
READER = {"AgencyId": CUHK, "UserIdentifierValue": "their-reader"}
WHEN = "2017-03-01T02:00:00Z"
PLACE = {"UnstructuredAddressType": "Newline-Delimited Text", "UnstructuredAddressData": "HKU"}
SENT = {"PhysicalAddress": {"UnstructuredAddress": PLACE, "PhysicalAddressType": "Street Address"}}


def number(agency: str, value: str = "nobody-1") -> dict[str, str]:
    return {"AgencyId": agency, "RequestIdentifierValue": value}


def kept(world: World) -> tuple[QuarantinedDocument, ...]:
    return world.store.now(quarantine.listed)


# fmt: off
NEWS: dict[str, dict[str, Any]] = {
    "ItemShipped":          {"DateShipped": WHEN, "ShippingInformation": SENT},
    "ItemReceived":         {"DateReceived": WHEN},
    "ItemRequestCancelled": {"UserId": READER, "RequestType": "Loan"},
    "AcceptItem":           {"RequestedActionType": "Loan"},
    "ItemCheckedOut":       {"UserId": READER, "DateDue": WHEN},
}
# fmt: on


@pytest.mark.parametrize("side", ["HKU", CUHK], ids=["we borrow", "we lend"])
@pytest.mark.parametrize("service", NEWS)
def test_notification_for_an_unknown_request_gets_a_problem_and_is_stored_once(world: World, service: str, side: str) -> None:
    copy = OURS if side == CUHK else THEIRS
    said = [world.ask(CUHK, service, RequestId=number(side), ItemId=copy, **NEWS[service]) for _ in range(3)]

    assert [reply.text("Problem/ProblemType") for reply in said] == ["Unknown Request"] * 3
    assert [(one.agency, one.service, one.times, one.state) for one in kept(world)] == [(CUHK, service, 3, "kept")]


def test_secret_and_personal_data_are_not_stored(world: World) -> None:
    world.ask(CUHK, "ItemCheckedOut", RequestId=number("HKU"), ItemId=THEIRS, **NEWS["ItemCheckedOut"])

    (one,) = kept(world)
    assert "their-reader" not in one.document
    assert world.services.callers[CUHK].secret not in one.document
    assert "nobody-1" in one.document


ELSE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (CUHK, "LookupRequest", {"RequestId": number(CUHK)}),
    (CUHK, "CancelRequestItem", {"RequestId": number(CUHK), "UserId": READER, "RequestType": "Loan"}),
    (CUHK, "RenewItem", {"ItemId": OURS, "UserId": READER}),
    (DISCOVERY, "CancelRequestItem", {"RequestId": number(DISCOVERY), "UserId": READER, "RequestType": "Loan"}),
)


@pytest.mark.parametrize(("agency", "service", "fields"), ELSE)
def test_refused_query_is_not_stored(world: World, agency: str, service: str, fields: dict[str, Any]) -> None:
    assert world.ask(agency, service, **fields).has("Problem")
    assert kept(world) == ()


def test_document_of_an_unknown_caller_is_not_stored(world: World) -> None:
    body = world.document(CUHK, "ItemReceived", "a-wrong-secret", RequestId=number(CUHK), DateReceived=WHEN)
    assert world.send(body).text("Problem/ProblemType") == "Agency Authentication Failed"
    assert kept(world) == ()


def test_reprocessed_document_takes_effect_once_its_request_is_known(world: World) -> None:
    world.ask(CUHK, "ItemReceived", RequestId=number(CUHK, "c-1"), DateReceived=WHEN)
    (one,) = kept(world)
    world.put(Position.SHIPPED, **LENT, item_agency="HKU", item_barcode="K9")

    said = finished(replay_document(world.services, one.agency, one.digest, one.document))

    assert not NcipMessage(service="", fields=dict(said) if isinstance(said, dict) else {}).has("Problem")
    assert world.request("R1").position is Position.AT_BORROWER


def test_number_of_stored_documents_of_a_partner_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MOST", 2)
    for value in ("a", "b", "c"):
        world.ask(CUHK, "ItemReceived", RequestId=number(CUHK, value), DateReceived=WHEN)
    world.ask("LU", "ItemReceived", RequestId=number("LU", "a"), DateReceived=WHEN)

    assert [one.agency for one in kept(world)] == [CUHK, CUHK, "LU"]


def test_settled_document_is_hidden_until_received_again(world: World) -> None:
    def tell() -> None:
        world.ask(CUHK, "ItemReceived", RequestId=number(CUHK), DateReceived=WHEN)

    tell()
    judged = [world.store.now(quarantine.settle, 1, QuarantineState.DROPPED, "mei", "not ours") for _ in range(2)]
    assert (judged, kept(world)) == ([True, False], ())
    tell()
    assert [one.times for one in kept(world)] == [2]


def test_expired_documents_are_deleted(world: World) -> None:
    world.ask(CUHK, "ItemReceived", RequestId=number(CUHK), DateReceived=WHEN)

    assert world.store.now(quarantine.forget, world.now, 10) == 0
    later = world.now.replace(year=2018)
    assert world.store.now(quarantine.forget, later, 10) == 1
    assert kept(world) == ()
