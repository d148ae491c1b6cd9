"""Availability is looked up at the lender before a request (R7): interpreting replies, and what is sent next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.database import finished
from hkall_gateway.ncip import shelves
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.shelves import MOST_COPIES, ShelfCheck, ShelfResult, read_shelf_check
from hkall_gateway.ncip.transport.client import NcipClient
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Holding, ItemKey
from hkall_gateway.simulator.scenario.scripted_partner import OK, PartnerBehaviour, Peers

CUHK = Partner(agency="CUHK", name="Chinese University", url="http://cuhk.test/ncip", can_lookup_items=True)
C1, C2 = ItemKey("CUHK", "C1"), ItemKey("CUHK", "C2")
WISH = PartnerMessage(
    send=Notification.ASK_LENDER.value,
    request="R1",
    partner="CUHK",
    wire_agency="HKU",
    wire_id="R1-1",
    at=datetime(2017, 3, 1, tzinfo=UTC),
    item=C1,
    bib_id="b1",
    local_bib_id="990001",
)
FREE = ("Available On Shelf",)


def shelf(*copies: tuple[str, str], **more: Any) -> NcipMessage:
    """A LookupItemSetResponse with these items, barcode and status."""
    told = [{"ItemId": {"ItemIdentifierValue": code}, "ItemOptionalFields": {"CirculationStatus": s}} for code, s in copies]
    return NcipMessage(
        service="LookupItemSetResponse", fields={"BibInformation": [{"HoldingsSet": [{"ItemInformation": told}]}], **more}
    )


def one_copy(status: str) -> NcipMessage:
    """A LookupItemResponse about C1."""
    return NcipMessage(
        service="LookupItemResponse",
        fields={"ItemId": {"ItemIdentifierValue": "C1"}, "ItemOptionalFields": {"CirculationStatus": status}},
    )


def problem(*types: str) -> list[dict[str, str]]:
    return [{"ProblemType": one} for one in types]


def several(problems: tuple[str, ...], copies: tuple[tuple[str, str], ...]) -> NcipMessage:
    """A LookupItemSetResponse with a problem for one title and these items for another."""
    told = shelf(*copies).each("BibInformation") if copies else []
    return NcipMessage(
        service="LookupItemSetResponse",
        fields={"BibInformation": [{"Problem": problem(*problems)}, *(one.fields for one in told)]},
    )


HERE, NONE, UNKNOWN = ShelfCheck(ShelfResult.HERE, C1), ShelfCheck(ShelfResult.NONE), ShelfCheck(ShelfResult.UNKNOWN)
ON, OUT = "Available On Shelf", "On Loan"

SEEN = (
    # what the lender says                                                     what it means
    (shelf(("C1", ON)), HERE),
    (shelf(("C1", "available on shelf")), HERE),
    (shelf(("C2", OUT), ("C1", ON)), HERE),
    (shelf(("C1", OUT), ("C2", ON)), ShelfCheck(ShelfResult.ANOTHER, C2)),
    (shelf(("C1", OUT), ("C2", "Missing")), NONE),
    (shelf(("C1", OUT), ("C2", "")), UNKNOWN),  # one copy says nothing
    (shelf(("C1", OUT), NextItemToken="2"), UNKNOWN),  # the list goes on
    (shelf(), UNKNOWN),
    (NcipMessage(service="LookupItemSetResponse", fields={"Problem": problem("Unknown Item")}), NONE),
    (NcipMessage(service="LookupItemSetResponse", fields={"BibInformation": [{"Problem": problem("Unknown Item")}]}), NONE),
    (NcipMessage(service="LookupItemSetResponse", fields={"Problem": problem("Unsupported Service")}), UNKNOWN),
    (
        NcipMessage(
            service="LookupItemSetResponse", fields={"Problem": problem("Unknown Item", "Temporary Processing Failure")}
        ),
        UNKNOWN,
    ),
    (several(("Unknown Item",), (("C1", ON),)), HERE),
    (several(("Unknown Item",), (("C2", ON),)), ShelfCheck(ShelfResult.ANOTHER, C2)),
    (several(("Unknown Item",), (("C1", OUT),)), NONE),
    (several(("Temporary Processing Failure",), (("C1", ON),)), HERE),
    (several(("Temporary Processing Failure",), (("C1", OUT),)), UNKNOWN),  # the other title may be there
    (several(("Unknown Item",), ()), NONE),
    (shelf(("C1", "AVAILABLE")), HERE),
    (shelf(("C1", "Item in place")), HERE),
    (shelf(("C1", "Green dot")), NONE),
    (shelf(("C1", "Circulation Status Undefined")), UNKNOWN),
    (one_copy(ON), HERE),
    (one_copy(OUT), NONE),
)


@pytest.mark.parametrize(("said", "means"), SEEN)
def test_status_reply_is_interpreted_literally(said: NcipMessage, means: ShelfCheck) -> None:
    assert read_shelf_check(said, WISH, CUHK, FREE) == means


def test_r8_other_volume_does_not_replace_the_requested_volume() -> None:
    volume = PartnerMessage(
        send=WISH.send,
        request="R1",
        partner="CUHK",
        wire_agency="HKU",
        wire_id="R1-1",
        at=WISH.at,
        item=C1,
        bib_id="b1",
        volume="2",
    )

    assert read_shelf_check(shelf(("C1", OUT), ("C2", ON)), volume, CUHK, FREE) == NONE


# ---- what leaves us


def asked(
    peers: Peers, partner: Partner = CUHK, *, unsure: bool = False, look_for: Sequence[str] = FREE
) -> tuple[DeliveryResult, list[NcipMessage]]:
    client = NcipClient(peers.post, "HKU", {"CUHK": "s"})
    answer = finished(client.deliver(WISH, partner, unsure=unsure, look_for=look_for))
    return answer, [decode(body) for body in peers.bodies]


def peers(*statuses: str, manner: PartnerBehaviour = OK) -> Peers:
    """CUHK with items C1, C2 … in these statuses; the first lookup gets this behaviour."""
    copies = [
        Holding(agency="CUHK", barcode=f"C{n}", bib_id="b1", title="Dune", status=s, local_bib_id="990001")
        for n, s in enumerate(statuses, 1)
    ]
    made = Peers({CUHK.url: "CUHK"}, lambda _agency: "s", copies)
    made.script("CUHK", manner)
    return made


def services(told: list[NcipMessage]) -> list[str]:
    return [message.service for message in told]


def test_item_on_the_shelf_is_requested() -> None:
    answer, told = asked(peers(ON))

    assert (answer.kind, answer.looked, services(told)) == ("accepted", "on the shelf", ["LookupItemSet", "RequestItem"])


def test_other_item_is_requested_by_its_own_barcode() -> None:
    answer, told = asked(peers(OUT, ON))

    assert (answer.kind, told[-1].text("ItemId/ItemIdentifierValue")) == ("accepted", "C2")


def test_lender_without_an_available_item_is_not_asked() -> None:
    answer, told = asked(peers(OUT))

    assert (answer.kind, answer.problem, services(told)) == ("refused", "none on the shelf", ["LookupItemSet"])


@pytest.mark.parametrize(
    "manner",
    [
        PartnerBehaviour(kind="503", taken=False),
        PartnerBehaviour(kind="cut", taken=False),
        PartnerBehaviour(kind="away", taken=False),
        PartnerBehaviour(kind="Problem", taken=False, problem="Unsupported Service"),
    ],
    ids=lambda m: m.kind,
)
def test_lender_is_asked_when_its_shelf_cannot_be_queried(manner: PartnerBehaviour) -> None:
    answer, told = asked(peers(OUT, manner=manner))

    assert (answer.kind, answer.looked, services(told)) == ("accepted", "the shelf could not be seen", ["RequestItem"])


def test_request_of_unknown_outcome_is_sent_again_without_a_shelf_check() -> None:
    answer, told = asked(peers(OUT), unsure=True)

    assert (answer.kind, services(told)) == ("accepted", ["RequestItem"])


def test_unknown_status_word_is_logged_once() -> None:
    client = NcipClient(peers("Green dot", "Green dot").post, "HKU", {"CUHK": "s"})
    with capture_logs() as logs:
        for _ in range(3):
            finished(client.deliver(WISH, CUHK, look_for=FREE))

    warned = [(log["source"], log["word"], log["copies"]) for log in logs if log["event"] == "availability.word_unknown"]
    assert warned == [("CUHK", "Green dot", 2)]


def test_shelf_check_is_skipped_when_holdings_are_recent() -> None:
    answer, told = asked(peers(OUT), look_for=())

    assert (answer.looked, services(told)) == ("", ["RequestItem"])


def test_ncip_1_lookup_queries_one_item() -> None:
    partner = Partner(agency="CUHK", name="", url=CUHK.url, dialect="innreach", can_lookup_items=True)

    answer, told = asked(peers(OUT), partner)

    assert (answer.problem, services(told)) == ("none on the shelf", ["LookupItem"])


def test_partner_queried_per_item_is_asked_about_one_item() -> None:
    answer, told = asked(peers(OUT), replace(CUHK, lookup_by_copy=True))

    assert (answer.problem, services(told)) == ("none on the shelf", ["LookupItem"])


def test_lookup_has_the_item_type_configured_for_the_partner() -> None:
    _, told = asked(peers(ON), replace(CUHK, lookup_by_copy=True, item_id_type="Item Barcode"))

    assert told[0].text("ItemId/ItemIdentifierType") == "Item Barcode"


# ---- the live status of a title's copies

COPIES = (
    Holding(agency="CUHK", barcode="C1", bib_id="b1", title="Dune"),
    Holding(agency="CUHK", barcode="C2", bib_id="b1", title="Dune", local_bib_id="990001"),
)
BY_COPY = replace(CUHK, lookup_by_copy=True)


def statuses(partner: Partner, peers: Peers, copies: Sequence[Holding] = COPIES) -> tuple[Any, list[NcipMessage]]:
    client = NcipClient(peers.post, "HKU", {"CUHK": "s"})
    found = finished(client.statuses(partner, "b1", copies))
    return found, [decode(body) for body in peers.bodies]


def test_items_of_a_title_are_queried_at_once_by_the_partners_record_id() -> None:
    found, (told,) = statuses(CUHK, peers(ON, OUT))

    assert found == {"C1": ON, "C2": OUT}
    assert told.text("BibliographicId/BibliographicRecordId/BibliographicRecordIdentifier") == "990001"


def test_items_are_queried_one_by_one_up_to_a_limit() -> None:
    many = [Holding(agency="CUHK", barcode=f"C{n}", bib_id="b1", title="Dune") for n in range(1, MOST_COPIES + 3)]
    found, told = statuses(BY_COPY, peers(*[ON] * len(many)), many)

    assert (len(found), services(told)) == (MOST_COPIES, ["LookupItem"] * MOST_COPIES)


# fmt: off
STATUSES: tuple[tuple[NcipMessage, dict[str, str] | None], ...] = (
    # what the partner says                                                    what is known by it
    (shelf(("C1", ON), ("C2", "")),                                            {"C1": ON}),
    (shelf(("C1", "Circulation Status Undefined")),                            {}),
    (shelf(("", ON)),                                                          {}),
    (NcipMessage(service="LookupItemSetResponse", fields={"Problem": problem("Unknown Item")}),        {}),
    (NcipMessage(service="LookupItemSetResponse", fields={"Problem": problem("Unsupported Service")}), None),
    (several(("Temporary Processing Failure",), (("C1", ON),)),                {"C1": ON}),
    (one_copy(OUT),                                                            {"C1": OUT}),
)
# fmt: on


@pytest.mark.parametrize(("said", "known"), STATUSES)
def test_status_is_known_only_when_reported(said: NcipMessage, known: dict[str, str] | None) -> None:
    assert shelves.read_statuses(said) == known


def test_missing_reply_stops_further_queries() -> None:
    found, told = statuses(BY_COPY, peers(ON, OUT, manner=PartnerBehaviour(kind="cut", taken=True)))

    assert (found, services(told)) == (None, ["LookupItem"])


def test_unknown_status_word_is_logged_unless_configured() -> None:
    client = NcipClient(peers("Green dot").post, "HKU", {"CUHK": "s"})
    with capture_logs() as logs:
        assert finished(client.statuses(CUHK, "b1", COPIES, ["Green dot"])) == {"C1": "Green dot"}
        finished(client.statuses(CUHK, "b1", COPIES))

    assert [log["word"] for log in logs if log["event"] == "availability.word_unknown"] == ["Green dot"]
