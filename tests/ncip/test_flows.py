"""Documents sent in each flow: a row for every message, and documents valid in their version."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.database import finished
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.tables.flows import FLOWS
from hkall_gateway.ncip.tables.notifications import DOCUMENTS
from hkall_gateway.ncip.transport.client import HttpReply, NcipClient, make_document
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import ItemKey
from tests.ncip.conftest import assert_valid

NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
COPY = ItemKey("THEM", "T1")


def partner_message(send: Notification, wire_agency: str = "HKU", item: ItemKey | None = COPY) -> PartnerMessage:
    told = PartnerMessage(
        send=send.value,
        request="R1",
        partner="THEM",
        wire_agency=wire_agency,
        wire_id="R1-1",
        at=NOW,
        item=item,
        bib_id="b1",
        due=date(2017, 4, 1),
    )
    return replace(told, title="Dune", author="Herbert, Frank", call_number="PS3558", volume="2")


def partner(dialect: str) -> Partner:
    return Partner(agency="THEM", name="", url="http://them.test", dialect=dialect)


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_covers_every_message(flow: str) -> None:
    assert FLOWS[flow].keys() == DOCUMENTS.keys()


def test_every_dialect_names_an_existing_flow() -> None:
    assert {row.flow for row in DIALECTS.values()} == FLOWS.keys()


@pytest.mark.parametrize("item", [COPY, None], ids=["copy", "title"])
@pytest.mark.parametrize("send", DOCUMENTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_document_is_valid_in_its_dialect_version(dialect: str, send: Notification, item: ItemKey | None) -> None:
    message = make_document(partner_message(send, item=item), partner(dialect), "HKU", "a-secret")
    if message is not None and (item or send in {Notification.ASK_LENDER, Notification.CANCEL_AT_LENDER}):
        body = encode(message, DIALECTS[dialect])
        assert_valid(body)
        assert decode(body).service == message.service


# What a flow asks by; whatever it does not ask is silence.
# fmt: off
ASKED = {
    ("broker",   Notification.ASK_LENDER):                     ("RequestItem", "Page"),
    ("broker",   Notification.CANCEL_AT_LENDER):               ("CancelRequestItem", "Loan"),
    ("broker",   Notification.ASK_LENDER_TO_RENEW):            ("RenewItem", ""),
    ("broker",   Notification.ASK_LENDER_LATER_DATE):          ("RenewItem", ""),
    ("broker",   Notification.TELL_BORROWER_RECALLED):         ("RecallItem", ""),
    ("broker",   Notification.TELL_BORROWER_RECALL_CANCELLED): ("CancelRecallItem", ""),
    ("openrs",   Notification.TELL_LENDER_RECEIVED):           ("ItemReceived", ""),
    ("openrs",   Notification.TELL_LENDER_ON_LOAN):            ("ItemCheckedOut", ""),
    ("openrs",   Notification.TELL_LENDER_ON_ITS_WAY):         ("ItemShipped", ""),
    ("openrs",   Notification.TELL_BORROWER_SHIPPED):          ("ItemShipped", ""),
    ("openrs",   Notification.TELL_BORROWER_DECLINED):         ("CancelRequestItem", "Loan"),
    ("openrs",   Notification.TELL_BORROWER_HOME):             ("ItemReceived", ""),
    ("innreach", Notification.ASK_LENDER):                     ("ItemRequested", "Loan"),
    ("innreach", Notification.CANCEL_AT_LENDER):               ("ItemRequestCancelled", "Loan"),
    ("innreach", Notification.ASK_LENDER_TO_RENEW):            ("RenewItem", ""),
    ("innreach", Notification.ASK_LENDER_LATER_DATE):          ("RenewItem", ""),
}
# fmt: on


@pytest.mark.parametrize("send", DOCUMENTS)
@pytest.mark.parametrize("dialect", ["broker", "innreach", "openrs"])
def test_partner_is_contacted_by_its_own_flow(dialect: str, send: Notification) -> None:
    message = make_document(partner_message(send), partner(dialect), "HKU", "")
    found = (message.service, message.text("RequestType")) if message else None
    assert found == ASKED.get((dialect, send))


@pytest.mark.parametrize("dialect", ["broker", "innreach"])
@pytest.mark.parametrize("send", [Notification.ASK_LENDER, Notification.CANCEL_AT_LENDER])
def test_partner_that_placed_a_request_does_not_receive_it(dialect: str, send: Notification) -> None:
    assert make_document(partner_message(send, wire_agency="THEM"), partner(dialect), "HKU", "") is None


def test_lender_gets_no_patron_data_in_any_flow() -> None:
    said = {name: make_document(partner_message(Notification.ASK_LENDER), partner(name), "HKU", "") for name in DIALECTS}
    users = {name: message.text("UserId/UserIdentifierValue") for name, message in said.items() if message}
    assert users == dict.fromkeys(DIALECTS.keys() - {"openrs"}, "HKU-INST")  # OpenRS is asked for nothing


@pytest.mark.parametrize("dialect", ["broker", "innreach"])
def test_message_outside_the_flow_counts_as_delivered_without_sending(dialect: str) -> None:
    async def post(_url: str, _body: bytes, _timeout_s: float) -> HttpReply:
        raise AssertionError("nothing is posted")

    client = NcipClient(post, "HKU", {})
    answer: DeliveryResult = finished(client.deliver(partner_message(Notification.TELL_LENDER_RECEIVED), partner(dialect)))
    assert (answer.kind, answer.untold) == ("accepted", True)
