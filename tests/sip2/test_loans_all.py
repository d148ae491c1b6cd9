"""Renewing all loans, offline transactions, and sorter data: 65, no block, 10."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from hkall_gateway.db.tables import HOLDINGS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.lines import Sip2Message

P = Position
DATE = "20170301    100000"
EARLIER = "20170228    090000"
Place = Callable[..., Request]
Fields = Callable[[str, str], Sip2Message]


def _65(card: str = "P1", more: str = "") -> str:
    return f"65{DATE}AOHKU|AA{card}|{more}"


def _11(card: str = "P1", no_block: str = "N", more: str = "", told: str = " " * 18) -> str:
    return f"11N{no_block}{EARLIER if no_block == 'Y' else DATE}{told}AOHKU|AA{card}|ABC1|AC|{more}"


def _09(no_block: str = "N", more: str = "") -> str:
    when = EARLIER if no_block == "Y" else DATE
    return f"09{no_block}{when}{when}AP|AOHKU|ABC1|AC|{more}"


# ---- renew all


def test_renew_all_lists_each_loan_as_renewed_or_unrenewed_with_its_reason(place: Place, fields: Fields) -> None:
    place(P.ON_LOAN, item_barcode="C1", due=date(2017, 3, 3), loan_days=15)
    place(P.ON_LOAN, item_barcode="C2", due=date(2017, 3, 28), loan_days=15)
    place(P.ON_LOAN, item_barcode="C3", due=date(2017, 3, 3), renewals=2)
    place(P.RECEIVED, item_barcode="C4")
    reply = fields("counter-1", _65())
    assert [reply.get(name) for name in ("ok", "renewed_count", "unrenewed_count")] == ["1", "0001", "0002"]
    assert (reply.all("BM"), reply.all("BN")) == (("C1",), ("C2", "C3"))
    assert reply.all("AF") == (
        "Renewed: 1",
        "C2: Can be renewed from 2017-03-21 on. Due on 2017-03-28 (R29)",
        "C3: Renewed 2 times already. Due on 2017-03-03 (R27)",
    )


def test_renew_all_without_loans_renews_nothing(fields: Fields) -> None:
    reply = fields("counter-1", _65())
    assert [reply.get(name) for name in ("ok", "renewed_count", "unrenewed_count")] == ["1", "0000", "0000"]


@pytest.mark.parametrize(
    ("login", "asked", "text"),
    [
        ("counter-1", _65("P404"), "This card is not known. Please ask at the counter (R2)"),
        ("counter-1", _65(""), "The terminal's message could not be read"),
        ("counter-1", _65(more="AD9999|"), "The PIN is missing or wrong (R10)"),
        ("pin-1", _65(), "The PIN is missing or wrong (R10)"),
    ],
)
def test_renew_all_with_an_unknown_card_renews_nothing(place: Place, fields: Fields, login: str, asked: str, text: str) -> None:
    place(P.ON_LOAN, due=date(2017, 3, 3), loan_days=15)
    reply = fields(login, asked)
    assert [reply.get(name) for name in ("ok", "renewed_count", "unrenewed_count")] == ["0", "0000", "0000"]
    assert reply.all("AF") == (text,)


# ---- offline transactions


def test_offline_return_is_accepted_at_a_terminal_without_returns_and_flagged_for_staff(
    place: Place, store: SoleStore, fields: Fields
) -> None:
    request = place(P.ON_LOAN, due=date(2017, 3, 16), used=True)
    reply = fields("offline-1", _09("Y"))
    assert (reply.get("ok"), reply.get("alert")) == ("1", "Y")
    assert reply.all("AF")[-1] == "Taken, but staff must look at it"
    after = store.now(lambda unit: unit.requests.find(request.id))
    assert after is not None
    assert (after.position, after.returned_on) == (P.RETURN_TRANSIT, date(2017, 2, 28))
    assert after.flags == "offline:counter_only"


@pytest.mark.parametrize("no_block", ["N", "Y"])
def test_return_at_a_book_drop_is_refused_online_and_offline(
    place: Place, store: SoleStore, fields: Fields, no_block: str
) -> None:
    request = place(P.ON_LOAN, due=date(2017, 3, 16), used=True)
    assert fields("bookdrop-1", _09(no_block)).get("ok") == "0"
    left_there = replace(request, flags="HKALL_IN_BOOKDROP", dropped_on=date(2017, 3, 1))
    assert store.now(lambda unit: unit.requests.find(request.id)) == left_there


@pytest.mark.parametrize(
    ("told", "due"),
    [
        ("20170310    235959", "20170310    235959"),  # a date before the policy's date is kept
        ("20170315    235959", "20170315    235959"),  # this is the policy's date
        ("20170316    000000", "20170315    235959"),
        ("20190101    235959", "20170315    235959"),
    ],
)
def test_offline_loan_keeps_its_due_date_within_the_policy(
    place: Place, store: SoleStore, fields: Fields, told: str, due: str
) -> None:
    request = place(P.RECEIVED)
    reply = fields("offline-1", _11("P1", "Y", told=told))
    assert [reply.get(name) for name in ("ok", "AH")] == ["1", due]
    assert reply.all("AF") == ("Taken, but staff must look at it",)
    after = store.now(lambda unit: unit.requests.find(request.id))
    assert after is not None
    assert (after.position, after.flags) == (P.ON_LOAN, "offline:counter_only")


@pytest.mark.parametrize(
    ("login", "card", "why", "flags"),
    [
        ("offline-1", "P2", "not_requester", "offline:not_requester"),
        ("selfcheck-1", "P1", "counter_only", ""),
        ("selfcheck-1", "P2", "counter_only", ""),
    ],
)
def test_no_block_checkout_is_accepted_only_for_the_requester_at_offline_terminals(
    place: Place, store: SoleStore, fields: Fields, login: str, card: str, why: str, flags: str
) -> None:
    request = place(P.RECEIVED)
    with capture_logs() as logs:
        assert fields(login, _11(card, "Y", told="20190101    235959")).get("ok") == "0"
    assert [line["refused"] for line in logs if "refused" in line] == [why]
    assert store.now(lambda unit: unit.requests.find(request.id)) == replace(request, flags=flags)


def test_offline_loan_with_a_wrong_pin_is_accepted(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    assert fields("offline-2", _11(no_block="Y", more="AD9999|")).get("ok") == "1"


def test_invalid_offline_loan_is_refused_and_flagged_for_staff(place: Place, store: SoleStore, fields: Fields) -> None:
    request = place(P.IN_TRANSIT)
    assert fields("offline-2", _11(no_block="Y")).get("ok") == "0"
    assert fields("offline-2", _11(no_block="Y")).get("ok") == "0"
    after = store.now(lambda unit: unit.requests.find(request.id))
    assert after is not None
    assert (after.position, after.flags) == (P.IN_TRANSIT, "offline:not_yet_arrived")


# ---- undone transactions


@pytest.mark.parametrize("card", ["P9", ""])
def test_checkout_is_undone_once_even_if_the_card_has_become_unknown(
    place: Place, store: SoleStore, fields: Fields, card: str
) -> None:
    request = place(P.ON_LOAN, patron="P9", due=date(2017, 3, 16), used=True, first_checkout=date(2017, 3, 1))
    replies = [fields("counter-1", _09(more=f"AA{card}|BIY|")) for _ in range(2)]
    assert [reply.get("ok") for reply in replies] == ["1", "1"]
    after = store.now(lambda unit: unit.requests.find(request.id))
    assert after is not None
    assert (after.position, after.due) == (P.RECEIVED, None)


def test_checkout_to_another_patron_is_not_undone(place: Place, store: SoleStore, fields: Fields) -> None:
    request = place(P.ON_LOAN, due=date(2017, 3, 16), used=True)
    assert fields("counter-1", _09(more="AAP2|BIY|")).get("ok") == "0"
    assert store.now(lambda unit: unit.requests.find(request.id)) == request


def test_check_in_is_undone_once(place: Place, store: SoleStore, fields: Fields) -> None:
    request = place(P.RETURN_TRANSIT, used=True, due=date(2017, 3, 16), returned_on=date(2017, 3, 1))
    replies = [fields("counter-1", _11(more="BIY|")) for _ in range(2)]
    assert [(reply.get("ok"), reply.get("AH")) for reply in replies] == [("1", "20170316    235959")] * 2
    after = store.now(lambda unit: unit.requests.find(request.id))
    assert after is not None
    assert (after.position, after.returned_on) == (P.ON_LOAN, None)


# ---- sorter fields


def test_sorter_gets_bin_alert_call_number_properties_and_destination(place: Place, store: SoleStore, fields: Fields) -> None:
    store.now(_catalogued)
    place(P.IN_TRANSIT)
    fields("counter-1", f"19{DATE}AOHKU|ABC1|CHtall|")
    reply = fields("sorter-1", _09())
    told = {tag: reply.get(tag) for tag in ("AQ", "CL", "CV", "CT", "CS", "CH", "CY", "DA", "alert")}
    assert told == {
        "AQ": "CUHK",
        "CL": "hold",
        "CV": "01",
        "CT": "HKU-MAIN-LENDING",
        "CS": "PZ7",
        "CH": "tall",
        "CY": "P1",
        "DA": "Chan Tai Man",
        "alert": "Y",
    }


def test_terminal_without_extensions_gets_no_sorter_fields(place: Place, store: SoleStore, fields: Fields) -> None:
    store.now(_catalogued)
    place(P.IN_TRANSIT)
    reply = fields("plain-1", _09())
    assert {tag for tag in ("CV", "CT", "CS", "CY", "DA") if reply.get(tag)} == set()
    assert (reply.get("CL"), reply.get("alert")) == ("hold", "Y")


@pytest.mark.parametrize(
    ("login", "position", "alert_type"),
    [("counter-1", P.RETURN_TRANSIT, "04"), ("alert-1", P.RETURN_TRANSIT, ""), ("alert-1", P.IN_TRANSIT, "01")],
)
def test_alert_type_is_sent_always_or_only_with_an_alert(
    place: Place, fields: Fields, login: str, position: Position, alert_type: str
) -> None:
    place(position)
    assert fields(login, _09()).get("CV") == alert_type


def _catalogued(unit: UnitOfWork) -> None:
    row = {"agency": "CUHK", "barcode": "C1", "bib_id": "b1", "title": "Dune", "call_number": "PZ7"}
    unit.execute(insert(HOLDINGS).values(**row))
