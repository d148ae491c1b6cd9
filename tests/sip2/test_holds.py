"""Holds at a terminal: 15 places, changes and cancels requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import insert

from hkall_gateway.db.tables import HOLDINGS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import ItemKey, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.lines import Sip2Message

P = Position
DATE = "20170301    100000"
Place = Callable[..., Request]
Fields = Callable[[str, str], Sip2Message]

COPIES: tuple[dict[str, Any], ...] = (
    {"agency": "HKU", "barcode": "H1", "bib_id": "b2", "title": "Emma", "status": "On Loan"},
    {"agency": "CUHK", "barcode": "C2", "bib_id": "b2", "title": "Emma", "status": "Available On Shelf"},
    {"agency": "HKU", "barcode": "H3", "bib_id": "b3", "title": "Persuasion", "status": "Available On Shelf"},
    {"agency": "CUHK", "barcode": "C3", "bib_id": "b3", "title": "Persuasion", "status": "Available On Shelf"},
    {"agency": "CUHK", "barcode": "C4", "bib_id": "b4", "title": "Poems", "status": "Available On Shelf"},
    {"agency": "CUHK", "barcode": "C5", "bib_id": "b5", "title": "Poems", "status": "Available On Shelf"},
)


@pytest.fixture(autouse=True)
def shelves(store: SoleStore) -> None:
    def add(unit: UnitOfWork) -> None:
        for copy in COPIES:
            unit.execute(insert(HOLDINGS).values(material="book", **copy))

    store.now(add)


def _15(mode: str = "+", what: str = "ABH1|", more: str = "", card: str = "P1") -> str:
    return f"15{mode}{DATE}{more}AOHKU|AA{card}|{what}"


def _requests(store: SoleStore) -> list[Request]:
    return list(store.now(lambda unit: unit.requests.open_of_patron("P1")))


# ---- placing


@pytest.mark.parametrize("what", ["ABH1|", "AJEmma|", "AJ愛瑪 / Emma|", "AJb2|", "ABH1|AJPoems|"])
def test_hold_on_a_checked_out_title_creates_a_request(store: SoleStore, fields: Fields, what: str) -> None:
    reply = fields("selfcheck-1", _15(what=what))
    assert [reply.get(name) for name in ("ok", "available", "AJ", "BS")] == ["1", "N", "Emma", "HKU-MAIN-LENDING"]
    assert reply.all("AF") == ("Requested. You will be told when it is here",)
    (request,) = _requests(store)
    assert (request.position, request.partner, request.bib_id) == (P.REQUESTED, "CUHK", "b2")


def test_expiry_date_of_a_hold_is_stored_and_returned(store: SoleStore, fields: Fields) -> None:
    reply = fields("counter-1", _15(more="BW20170331    000000|"))
    assert reply.get("BW") == "20170331    235959"
    assert _requests(store)[0].need_before == date(2017, 3, 31)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (_15(what="ABH3|"), "A copy is on the shelf in our own library (R6)"),
        (_15(what="ABC1|"), "HKALL books cannot be put on hold (R22)"),
        (_15(more="BY3"), "HKALL books cannot be put on hold (R22)"),
        (_15(what="ABX9|"), "This is not an HKALL book"),
        (_15(what="AJNobody wrote it|"), "This title is not known (R7)"),
        (_15(what="AJPoems|"), "More than one book fits. Please ask at the counter"),
        (_15(more="BSKOWLOON|"), "Books can be collected at HKU-MAIN-LENDING only (R4)"),
        (_15(card="P404"), "This card is not known. Please ask at the counter (R2)"),
        (_15(card="P3"), "Your card expired on 2017-01-31 (R2)"),
        (_15(what=""), "The terminal's message could not be read"),
        (_15(card=""), "The terminal's message could not be read"),
        (_15(mode="?"), "The terminal's message could not be read"),
        (_15(what="ABH1|AD9999|"), "The PIN is missing or wrong (R10)"),
    ],
)
def test_invalid_hold_is_refused_with_its_reason(place: Place, store: SoleStore, fields: Fields, said: str, text: str) -> None:
    place(P.RECEIVED, patron="P2", item_barcode="C1")
    reply = fields("counter-1", said.replace("BY3", "BY3|"))
    assert (reply.get("ok"), reply.get("available"), reply.all("AF")) == ("0", "N", (text,))
    assert _requests(store) == []


def test_repeated_hold_is_a_duplicate_without_a_second_request(store: SoleStore, fields: Fields) -> None:
    fields("counter-1", _15())
    assert fields("counter-1", _15()).all("AF") == ("You have requested this title already (R11a)",)
    assert len(_requests(store)) == 1


def test_hold_is_possible_when_our_copy_is_lent_to_a_partner(place: Place, fields: Fields) -> None:
    place(P.AT_BORROWER, side=Side.LENDING, patron="", item_agency="HKU", item_barcode="H1")
    assert fields("counter-1", _15()).get("ok") == "1"


def test_hold_without_a_pin_is_refused_at_a_terminal_that_requires_one(fields: Fields) -> None:
    assert fields("pin-1", _15()).all("AF") == ("The PIN is missing or wrong (R10)",)
    assert fields("pin-1", _15(what="ABH1|AD1234|")).get("ok") == "1"


# ---- cancelling


def test_hold_is_cancelled_before_a_partner_has_shipped(store: SoleStore, fields: Fields) -> None:
    fields("counter-1", _15())
    reply = fields("counter-1", _15("-"))
    assert (reply.get("ok"), reply.all("AF")) == ("1", ("The request is cancelled",))
    assert [r.position for r in _requests(store)] == [P.CANCELLING]
    assert fields("counter-1", _15("-")).get("ok") == "1"


def test_hold_is_not_cancelled_once_the_item_is_in_transit(place: Place, fields: Fields) -> None:
    place(P.IN_TRANSIT, title="Emma", bib_id="b2")
    reply = fields("counter-1", _15("-", "AJEmma|"))
    assert (reply.get("ok"), reply.all("AF")) == ("0", ("Too late to cancel: the book is on its way (R34)",))


@pytest.mark.parametrize("mode", ["-", "*"])
def test_missing_hold_can_be_neither_changed_nor_cancelled(place: Place, fields: Fields, mode: str) -> None:
    place(P.REQUESTED, patron="P2", title="Emma", bib_id="b2", item_agency="", item_barcode="")
    assert fields("counter-1", _15(mode)).all("AF") == ("There is no such request",)


# ---- identifiers from a 64

TOO_LATE = "Too late to cancel: the book is on its way (R34)"
NOT_NOW = "Not possible with this book now. Please ask at the counter"
LATE = {"first_checkout": date(2017, 2, 1), "due": date(2017, 2, 16), "recalled_on": date(2017, 2, 10)}
NO_COPY = {"item_agency": "", "item_barcode": ""}
LISTS = [
    ("CD", "     Y", P.REQUESTED, NO_COPY, "The request is cancelled"),
    ("CD", "     Y", P.IN_TRANSIT, {}, TOO_LATE),
    ("AS", "Y     ", P.RECEIVED, {}, TOO_LATE),
    ("AT", " Y    ", P.ON_LOAN, LATE, NOT_NOW),
    ("AU", "  Y   ", P.ON_LOAN, LATE, NOT_NOW),
    ("AV", "   Y  ", P.ON_LOAN, LATE, NOT_NOW),
    ("BU", "    Y ", P.ON_LOAN, LATE, NOT_NOW),
]


@pytest.mark.parametrize("title", ["Emma", "紅樓夢 | 卷一", "Cœur “simple”", "long " * 80])
@pytest.mark.parametrize("login", ["counter-1", "staff-1", "ascii-1", "big5-1"])
@pytest.mark.parametrize(("tag", "summary", "position", "facts", "text"), LISTS)
@pytest.mark.parametrize("sent_in", ["AB", "AJ"])
def test_r34_identifier_from_a_patron_list_is_accepted_for_cancelling(
    place: Place,
    fields: Fields,
    sent_in: str,
    tag: str,
    summary: str,
    position: Position,
    facts: dict[str, Any],
    text: str,
    login: str,
    title: str,
) -> None:
    place(position, **{"title": title, "bib_id": "b2", **facts})
    (told,) = fields(login, f"63001{DATE}{summary:10}AOHKU|AAP1|").all(tag)
    reply = fields(login, f"15-{DATE}AOHKU|AAP1|{sent_in}{told}|")
    assert reply.get("ok") == ("1" if position is P.REQUESTED else "0")
    if login in {"counter-1", "staff-1"}:  # the other terminals show Chinese
        assert reply.all("AF") == (text,)


@pytest.mark.parametrize("sent_in", ["AB", "AJ"])
def test_ambiguous_identifier_of_two_requests_is_refused(place: Place, fields: Fields, sent_in: str) -> None:
    place(P.REQUESTED, title="詩", bib_id="b4", **NO_COPY)
    place(P.REQUESTED, title="集", bib_id="b5", **NO_COPY)
    told = fields("ascii-1", f"63001{DATE}     Y    AOHKU|AAP1|").all("CD")
    assert told == ("?", "?")
    reply = fields("ascii-1", f"15-{DATE}AOHKU|AAP1|{sent_in}?|")
    assert reply.get("ok") == "0"
    assert fields("counter-1", f"15-{DATE}AOHKU|AAP1|{sent_in}詩|").get("ok") == "1"


# ---- changing


def test_expiry_date_of_a_hold_is_changed(store: SoleStore, fields: Fields) -> None:
    fields("counter-1", _15())
    reply = fields("counter-1", _15("*", more="BW20170401    000000|"))
    assert (reply.get("ok"), reply.get("BW")) == ("1", "20170401    235959")
    assert reply.all("AF") == ("The request is changed",)
    assert _requests(store)[0].need_before == date(2017, 4, 1)


@pytest.mark.parametrize("position", [P.REQUESTED, P.RECEIVED])
def test_hold_is_refused_for_a_location_without_delivery(place: Place, fields: Fields, position: Position) -> None:
    place(position, title="Emma", bib_id="b2")
    reply = fields("counter-1", _15("*", "AJEmma|", "BSKOWLOON|"))
    assert (reply.get("ok"), reply.all("AF")) == ("0", ("Books can be collected at HKU-MAIN-LENDING only (R4)",))


def test_item_on_the_hold_shelf_is_listed_as_available(place: Place, fields: Fields) -> None:
    place(P.RECEIVED, title="Emma", bib_id="b2")
    assert fields("counter-1", _15("*", "ABC1|")).get("available") == "Y"


def test_stored_item_properties_are_returned(place: Place, store: SoleStore, fields: Fields) -> None:
    place(P.RECEIVED)
    reply = fields("counter-1", f"19{DATE}AOHKU|ABC1|AC|CHblue, small|")
    assert (reply.get("item_properties_ok"), reply.get("CH"), reply.get("AJ")) == ("1", "blue, small", "Dune")
    fields("counter-1", f"19{DATE}AOHKU|ABC1|CHred|")
    assert fields("counter-1", f"17{DATE}AOHKU|ABC1|").get("CH") == "red"
    assert store.now(lambda unit: unit.requests.open_with_item("C1"))[0].item == ItemKey("CUHK", "C1")


@pytest.mark.parametrize("said", [f"19{DATE}AOHKU|ABX9|CHred|", f"19{DATE}AOHKU|AB|CHred|"])
def test_item_properties_of_an_unknown_item_are_refused(fields: Fields, said: str) -> None:
    reply = fields("counter-1", said)
    assert reply.get("item_properties_ok") == "0"
    assert reply.all("AF") != ()


def test_item_properties_of_an_own_item_on_the_shelf_are_accepted(fields: Fields) -> None:
    fields("counter-1", f"19{DATE}AOHKU|ABH3|CHtwo volumes in one|")
    assert fields("counter-1", f"17{DATE}AOHKU|ABH3|").get("CH") == "two volumes in one"
