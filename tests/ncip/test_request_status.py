"""A partner's status of a request: our own replies parsed back, without further assumptions."""

from __future__ import annotations

from typing import Any

import pytest

from hkall_gateway.ncip import replies
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.reply_payload import make_request_lookup, read_positions
from hkall_gateway.ncip.tables.flows import status_of
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import BORROWING, FINAL, LENDING
from hkall_gateway.rules.vocabulary import Position, Request, Side

P = Position
BORROWED, LENT = Side.BORROWING, Side.LENDING


def reply(status: str = "", copy: str = "", **more: Any) -> NcipMessage:
    fields: dict[str, Any] = {"RequestStatusType": status, "ItemOptionalFields": {"CirculationStatus": copy}, **more}
    return NcipMessage(service="LookupRequestResponse", fields=fields)


def problem(text: str) -> NcipMessage:
    return NcipMessage(service="LookupRequestResponse", fields={"Problem": [{"ProblemType": text}]})


ON_A_WAY = "In Transit Between Library Locations"

# fmt: off
SAID = (
    # ours     what the partner says                       where it stands there
    (BORROWED, reply("In Process", "In Process"),          ("PAGED",)),
    (BORROWED, reply("In Process", ON_A_WAY),              ("SHIPPED", "RETURN_TRANSIT")),
    (BORROWED, reply("", "On Loan"),                       ("AT_BORROWER",)),
    (BORROWED, reply("Cannot Fulfill Request"),            ("DECLINED",)),
    (BORROWED, reply("Expired"),                           ("WITHDRAWN",)),
    (BORROWED, reply("In Process", "Available On Shelf"),  ("CLOSED",)),
    (BORROWED, problem("Unknown Request"),                 ()),
    (BORROWED, problem("Unsupported Service"),             None),
    (BORROWED, reply("Charged Out", "Somewhere"),          None),
    (BORROWED, reply(),                                    None),
    (LENT,     reply("Available For Pickup"),              ("RECEIVED",)),
    (LENT,     reply("In Process", "On Loan"),             ("ON_LOAN",)),
    (LENT,     reply("Cannot Fulfill Request"),            ("UNFILLED",)),
)
# fmt: on


@pytest.mark.parametrize(("ours", "said", "stands"), SAID)
def test_reported_status_is_compatible_with_its_positions(
    ours: Side, said: NcipMessage, stands: tuple[str, ...] | None
) -> None:
    assert read_positions(said, ours) == stands


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("position", P)
def test_own_status_is_compatible_with_its_position(side: Side, position: Position) -> None:
    theirs = LENDING if side is Side.BORROWING else BORROWING
    if position not in theirs:
        return
    status, copy = status_of(position), replies.STATUS.get(position, "")

    found = read_positions(reply(status, copy), side)

    assert found is not None
    assert position in found


def test_item_in_use_does_not_count_as_a_completed_request() -> None:
    found = read_positions(reply("In Process", "On Loan"), BORROWED)

    assert found is not None
    assert not FINAL & {P(one) for one in found}


LOAN = Request(
    id="R1",
    side=BORROWED,
    position=P.ON_LOAN,
    title="Dune",
    bib_id="b1",
    wire_agency="HKU",
    wire_id="R1-1",
    item_agency="X",
    item_barcode="E1",
)
ASKED = Request(id="R1", side=BORROWED, position=P.REQUESTED, title="Dune", bib_id="b1", wire_agency="HKU", wire_id="R1-1")


@pytest.mark.parametrize(
    ("request_", "row", "service"),
    [
        (LOAN, Partner(agency="X", name="", can_lookup_request=True, can_lookup_items=True), "LookupRequest"),
        (LOAN, Partner(agency="X", name="", can_lookup_items=True), "LookupItem"),
        (ASKED, Partner(agency="X", name="", can_lookup_items=True), None),
        (LOAN, Partner(agency="X", name=""), None),
    ],
)
def test_partner_is_queried_by_the_services_it_supports(request_: Request, row: Partner, service: str | None) -> None:
    asked = make_request_lookup(request_, row)

    assert (asked[0] if asked else None) == service


@pytest.mark.parametrize(("number", "asked"), [("", ("HKU", "R1-1")), ("X:7:1", ("X", "7:1"))])
def test_request_is_looked_up_by_the_partners_own_number(number: str, asked: tuple[str, str]) -> None:
    found = make_request_lookup(LOAN, Partner(agency="X", name="", can_lookup_request=True), number)

    assert found is not None
    service, elements = found
    message = NcipMessage(service=service, fields=elements)
    assert (message.text("RequestId/AgencyId"), message.text("RequestId/RequestIdentifierValue")) == asked
