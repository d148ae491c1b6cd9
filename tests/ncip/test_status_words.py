"""Request status in NISO's terms and in those of the patron record (R35). Every reply is validated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.ncip.codec.dialects import DIALECTS, SUPPORTED
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.tables.flows import IN_PROCESS, LABELS_SCHEME, STATUS, request_status
from hkall_gateway.rules.positions import STILL_WANTED
from hkall_gateway.rules.settings import LABELS
from hkall_gateway.rules.vocabulary import Position

if TYPE_CHECKING:
    from tests.ncip.conftest import World

P = Position
DISCOVERY, CUHK = "HKU-DISCOVERY", "CUHK"
UG1 = {"AgencyId": "HKU", "UserIdentifierValue": "UG1"}
NUMBER = {"AgencyId": DISCOVERY, "RequestIdentifierValue": "d-1"}
NISO_LIST = {
    *("Available For Pickup", "Cannot Fulfill Request", "Expired"),
    *("In Process", "Need to Accept Conditions", "Requested Via ILL"),
}
WAITS = sorted(STILL_WANTED)


def shown(world: World) -> None:
    """Configure the discovery system with request_status = "label"."""
    world.admit(DISCOVERY, request_status="label")


def record(world: World) -> NcipMessage:
    return next(iter(world.ask(DISCOVERY, "LookupUser", UserId=UG1, RequestedItemsDesired=True).each("RequestedItem")))


def scheme(value: Any) -> str | None:
    return getattr(value, "scheme", None)


def test_every_status_word_is_in_the_niso_list() -> None:
    assert {IN_PROCESS, *STATUS.values()} <= NISO_LIST


@pytest.mark.parametrize("position", WAITS)
def test_r35_patron_lookup_returns_our_status_beside_the_niso_status(world: World, position: Position) -> None:
    world.put(position)
    wait = record(world)
    assert wait.text("RequestStatusType") == STATUS.get(position, IN_PROCESS)
    assert wait.texts("Ext/RequestStatusType") == (LABELS[position],)
    assert scheme(wait.texts("Ext/RequestStatusType")[0]) == LABELS_SCHEME
    assert wait.fields["Ext"].keys() == {"RequestStatusType"}  # type: ignore[union-attr]


@pytest.mark.parametrize("position", WAITS)
def test_r35_client_can_be_configured_to_get_our_status_as_the_status(world: World, position: Position) -> None:
    world.put(position)
    shown(world)
    asked = world.ask(DISCOVERY, "LookupRequest", RequestId=NUMBER)
    for said in (record(world), asked):
        assert (said.text("RequestStatusType"), said.has("Ext")) == (LABELS[position], False)
        assert scheme(said.texts("RequestStatusType")[0]) == LABELS_SCHEME


@pytest.mark.parametrize("position", sorted(LABELS))
def test_r35_request_lookup_returns_both_statuses(world: World, position: str) -> None:
    world.put(P(position))
    reply = world.ask(DISCOVERY, "LookupRequest", RequestId=NUMBER)
    said = (reply.text("RequestStatusType"), reply.text("Ext/RequestStatusType"))
    assert said == (STATUS.get(P(position), IN_PROCESS), LABELS[position])


def test_elements_not_requested_are_omitted(world: World) -> None:
    world.put(P.RECEIVED)
    reply = world.ask(DISCOVERY, "LookupRequest", RequestId=NUMBER, RequestElementType=["Pickup Location"])
    assert not reply.has("RequestStatusType")
    assert not reply.has("Ext")


def test_peer_extension_is_returned_beside_the_status(world: World) -> None:
    world.put(P.RECEIVED)
    ext = {"RequestId": [{"AgencyId": CUHK, "RequestIdentifierValue": "theirs"}]}
    reply = world.ask(DISCOVERY, "LookupRequest", RequestId=NUMBER, Ext=ext)
    assert reply.text("Ext/RequestStatusType") == "HKALL RECVD"
    assert reply.text("Ext/RequestId/RequestIdentifierValue") == "theirs"


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("label", [False, True], ids=["niso", "label"])
def test_both_status_forms_are_valid_in_every_version(world: World, version: str, label: bool) -> None:
    world.put(P.RECEIVED)
    if label:
        shown(world)
    asked = decode(world.document(DISCOVERY, "LookupUser", UserId=UG1, RequestedItemsDesired=True))
    dialect = replace(DIALECTS["innreach" if "v1_" in version else "direct"], version=version)
    reply = world.send(encode(replace(asked, version=version), dialect))
    assert reply.text("RequestedItem/RequestStatusType") == ("HKALL RECVD" if label else "Available For Pickup")


def test_position_without_our_status_returns_only_the_niso_status() -> None:
    assert request_status(P.PAGED, "", as_label=True) == {"RequestStatusType": IN_PROCESS}
