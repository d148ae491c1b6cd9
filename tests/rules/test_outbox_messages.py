"""Messages to partners: all request data that a message needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, PartnerMessage, partner_message
from hkall_gateway.rules.vocabulary import Candidate, ItemKey, Position, Request, Side

NOW = datetime(2017, 3, 10, 2, tzinfo=UTC)


def march(number: int) -> date:
    return date(2017, 3, number)


ABOUT = Request(
    id="R1",
    side=Side.BORROWING,
    position=Position.ON_LOAN,
    title="Dune",
    bib_id="b1",
    patron="UG1",
    partner="CUHK",
    wire_agency="HKU",
    wire_id="w1",
    attempt=2,
    item_agency="CUHK",
    item_barcode="C1",
    volume="v.2",
    pickup_location="MAIN",
    received_on=march(2),
    pickup_last=march(7),
    due=march(16),
    due_asked=march(31),
    lender_due=march(20),
    renewals=1,
    need_before=march(25),
    reason="not_on_shelf",
)
CHOSEN = Candidate(request="R1", rank=1, agency="LU", barcode="L1", local_bib_id="lu-9")
TOLD = PartnerMessage(
    send="tell_lender_renewed",
    request="R1",
    partner="CUHK",
    wire_agency="HKU",
    wire_id="w1",
    at=NOW,
    item=ItemKey("CUHK", "C1"),
    bib_id="b1",
    title="Dune",
    volume="v.2",
    pickup_location="MAIN",
    due=march(16),
    renewals=1,
    reason="not_on_shelf",
    patron="UG1",
    need_before=march(25),
)


def test_message_to_a_partner_has_all_request_data() -> None:
    assert partner_message(Notification.TELL_LENDER_RENEWED, ABOUT, NOW) == TOLD


def test_renewal_request_to_a_lender_has_the_requested_date() -> None:
    assert partner_message(Notification.ASK_LENDER_TO_RENEW, ABOUT, NOW).due == march(31)


def test_request_without_a_due_date_sends_the_lenders_date() -> None:
    assert partner_message(Notification.TELL_LENDER_RENEWED, replace(ABOUT, due=None), NOW).due == march(20)


def test_request_to_a_lender_names_the_chosen_item_and_its_own_record_id() -> None:
    asked = partner_message(Notification.ASK_LENDER, replace(ABOUT, item_barcode=""), NOW, CHOSEN)
    assert (asked.item, asked.local_bib_id) == (ItemKey("LU", "L1"), "lu-9")
    assert partner_message(Notification.ASK_LENDER, ABOUT, NOW, CHOSEN).item == ItemKey("CUHK", "C1")


def test_ordering_keys_equal_those_of_rows_that_wait_since_an_earlier_release() -> None:
    blocked = LocalMessage(send="tell_ils_blocked", at=NOW, patron="P1")
    paid = LocalMessage(send="check_ils_payment", at=NOW, patron="P1", amount="3.50", text="7", terminal="T1")
    keys = [message.ordering_key for message in (blocked, paid, replace(paid, transaction="9"), replace(paid, barcode="L1"))]
    assert keys == ["card:96e0ada19485", "payment:d2d485437351", "payment:4c8d39529ebf", "item:L1"]
