"""Patron information for a terminal: 24, 64 and 36."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

import pytest
from sqlalchemy import update

from hkall_gateway.db import fines
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.rules.settings import Policy, Renewal
from hkall_gateway.rules.vocabulary import Actor, Position, Request
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.codec.messages import SHAPES
from hkall_gateway.sip2.handlers.patrons import LISTINGS, MARKS, POSITIONS

P = Position
DATE = "20170301    100000"
Place = Callable[..., Request]
Fields = Callable[[str, str], Sip2Message]
Ask = Callable[[str, str], str]


def _63(card: str, summary: str = "", language: str = "000", more: str = "") -> str:
    return f"63{language}{DATE}{summary:10}AOHKU|AA{card}|{more}"


def _23(card: str, pin: str = "") -> str:
    return f"23000{DATE}AOHKU|AA{card}|AC|AD{pin}|"


def _one_of_each(place: Place) -> None:
    place(P.RECEIVED, item_barcode="C1")
    place(P.ON_LOAN, item_barcode="C2", due=date(2017, 3, 16))
    place(P.ON_LOAN, item_barcode="C3", due=date(2017, 2, 24), recalled_on=date(2017, 2, 10))
    place(P.REQUESTED, item_agency="", item_barcode="", title="Emma")
    place(P.TO_RETURN, item_barcode="C4")


def test_patron_status_in_good_standing_has_no_flags(ask: Ask) -> None:
    reply = ask("counter-1", _23("P1"))
    assert reply == f"24{' ' * 14}001{DATE}AOHKU|AAP1|AEChan Tai Man|BLY|CQN|BHHKD|BV0.00|"


@pytest.mark.parametrize(("pin", "cq"), [("", "N"), ("1234", "Y"), ("9999", "N")])
def test_pin_is_reported_valid_only_when_given_and_correct(fields: Fields, pin: str, cq: str) -> None:
    status = fields("counter-1", _23("P1", pin))
    assert (status.get("BL"), status.get("CQ")) == ("Y", cq)


COUNTS = ("hold_items_count", "overdue_items_count", "charged_items_count", "recall_items_count", "unavailable_holds_count")


def test_personal_data_is_withheld_after_a_wrong_pin(place: Place, fields: Fields) -> None:
    _one_of_each(place)
    assert [fields("staff-1", _63("P1", "  Y")).get(name) for name in COUNTS] == ["0001", "0001", "0002", "0001", "0001"]
    seen = fields("staff-1", _63("P1", "  Y", more="AD9999|"))
    assert (seen.get("AE"), seen.get("BE"), seen.all("AU"), seen.get("BV")) == ("", "", (), "")
    assert [seen.get(name) for name in COUNTS] == ["0000"] * len(COUNTS)
    assert seen.all("AF") == ("The PIN is missing or wrong (R10)",)


def test_names_and_lists_require_a_pin_at_terminals_that_demand_one(place: Place, fields: Fields) -> None:
    _one_of_each(place)
    without, given = fields("pin-1", _63("P1", "  Y")), fields("pin-1", _63("P1", "  Y", more="AD1234|"))
    assert (without.get("AE"), without.all("AU"), without.get("CQ")) == ("", (), "N")
    assert (given.get("AE"), given.all("AU"), given.get("CQ")) == ("Chan Tai Man", ("C2", "C3"), "Y")


def test_address_is_returned_with_a_pin_or_to_staff(fields: Fields) -> None:
    assert fields("counter-1", _63("P1")).get("BE") == ""
    assert fields("counter-1", _63("P1", more="AD1234|")).get("BE") == "p1@connect.test"
    assert fields("staff-1", _63("P1")).get("BE") == "p1@connect.test"


@pytest.mark.parametrize("asked", [_23("P404"), _63("P404", "Y"), _63("")])
def test_unknown_card_is_reported_with_invalid_card_and_pin(fields: Fields, asked: str) -> None:
    seen = fields("counter-1", asked)
    assert (seen.get("BL"), seen.get("CQ"), seen.get("AE")) == ("N", "N", "")
    assert seen.get("patron_status") == "YYYY          "
    assert seen.all("AF") == ("This card is not known. Please ask at the counter (R2)",)


def test_expired_card_is_valid_but_may_not_borrow(fields: Fields) -> None:
    seen = fields("counter-1", _63("P3"))
    assert seen.get("BL") == "Y"
    assert seen.get("patron_status") == "YYYY          "
    assert seen.all("AF") == ("Your card expired on 2017-01-31 (R2)",)


@pytest.mark.parametrize(
    ("policy", "marks"),
    [
        (Policy(renewal=Renewal(expired_or_blocked="staff_only")), "YYYY"),
        (Policy(renewal=Renewal(expired_or_blocked="allow")), "Y YY"),
    ],
)
def test_renewals_with_an_expired_card_follow_the_policy(fields: Fields, marks: str) -> None:
    assert fields("counter-1", _63("P3")).get("patron_status") == f"{marks:14}"


def test_counts_are_grouped_by_item_state(place: Place, fields: Fields) -> None:
    _one_of_each(place)
    seen = fields("counter-1", _63("P1"))
    assert {row.count: seen.get(row.count) for row in LISTINGS} == {
        "hold_items_count": "0001",
        "overdue_items_count": "0001",
        "charged_items_count": "0002",
        "fine_items_count": "0001",
        "recall_items_count": "0001",
        "unavailable_holds_count": "0001",
    }


@pytest.mark.parametrize(
    ("position", "tag", "lines"),
    [
        (0, "AS", ("C1",)),
        (1, "AT", ("C3",)),
        (2, "AU", ("C2", "C3")),
        (3, "AV", ("C3 HKD 20.00",)),
        (4, "BU", ("C3",)),
        (5, "CD", ("Emma",)),
        (6, "AV", ("C3 HKD 20.00",)),  # position 6, beyond the 2.00 document, requests single fees
        (7, "AV", ("C3 HKD 20.00",)),
    ],
)
def test_summary_flag_selects_one_list(place: Place, fields: Fields, position: int, tag: str, lines: tuple[str, ...]) -> None:
    _one_of_each(place)
    seen = fields("counter-1", _63("P1", " " * position + "Y"))
    assert {row.tag: seen.all(row.tag) for row in LISTINGS if seen.all(row.tag)} == {tag: lines}


@pytest.mark.parametrize("summary", ["", "        Y", "         Y"])
def test_unknown_summary_flag_returns_no_list(place: Place, fields: Fields, summary: str) -> None:
    _one_of_each(place)
    seen = fields("counter-1", _63("P1", summary))
    assert [row.tag for row in LISTINGS if seen.all(row.tag)] == []


@pytest.mark.parametrize(
    ("more", "lines"),
    [
        ("BP1|BQ2|", ("C1", "C2")),
        ("BP2|BQ2|", ("C2",)),
        ("BP3|", ("C3", "C4")),
        ("BQ1|", ("C1",)),
        ("BP9|BQ12|", ()),
        ("BP3|BQ1|", ()),
        ("BP0|BQ0|", ()),
        ("BPx|BQ-1|", ("C1", "C2", "C3", "C4")),
        (f"BQ{'9' * 200}|", ("C1", "C2", "C3", "C4")),
    ],
)
def test_list_range_is_one_based_and_inclusive(place: Place, fields: Fields, more: str, lines: tuple[str, ...]) -> None:
    for number in range(1, 5):
        place(P.ON_LOAN, item_barcode=f"C{number}", due=date(2017, 3, 16))
    assert fields("counter-1", _63("P1", "  Y", more=more)).all("AU") == lines


def test_category_quota_is_returned_and_reaching_it_denies_holds(place: Place, fields: Fields) -> None:
    for number in range(15):
        place(P.ON_LOAN, item_barcode=f"C{number}", due=date(2017, 3, 16))
    seen = fields("counter-1", _63("P1"))
    assert seen.get("CB") == "0015"
    assert seen.get("patron_status") == "Y    Y        "


def test_overdue_recalled_item_is_flagged(place: Place, fields: Fields) -> None:
    place(P.ON_LOAN, due=date(2017, 2, 24), recalled_on=date(2017, 2, 10))
    assert fields("counter-1", _23("P1")).get("patron_status") == " " * 12 + "Y "


def test_items_on_the_hold_shelf_are_announced(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    assert fields("counter-1", _23("P1")).all("AF") == ("HKALL books ready to collect: 1",)


@pytest.mark.parametrize(
    ("login", "card", "asked", "answered", "name"),
    [
        ("counter-1", "P1", "000", "001", "Chan Tai Man"),
        ("counter-1", "P2", "000", "019", "王美"),
        ("counter-1", "P2", "001", "001", "Wong Mei"),
        ("counter-1", "P2", "027", "027", "王美"),
        ("counter-1", "P2", "002", "002", "Wong Mei"),
        ("ascii-1", "P2", "019", "019", "Wong Mei"),
    ],
)
def test_name_and_language_match_the_request_and_the_terminal(
    fields: Fields, login: str, card: str, asked: str, answered: str, name: str
) -> None:
    seen = fields(login, _63(card, language=asked))
    assert (seen.get("language"), seen.get("AE")) == (answered, name)


def test_expiry_and_category_are_sent_only_to_terminals_that_support_them(fields: Fields) -> None:
    assert (fields("counter-1", _63("P3")).get("PA"), fields("counter-1", _63("P3")).get("PC")) == ("", "")
    assert (fields("staff-1", _63("P3")).get("PA"), fields("staff-1", _63("P3")).get("PC")) == ("20170131", "undergraduates")


def test_patron_session_can_always_be_ended(ask: Ask) -> None:
    assert ask("counter-1", f"35{DATE}AOHKU|AAP1|") == f"36Y{DATE}AOHKU|AAP1|"


def test_lists_follow_the_order_of_the_summary_flags() -> None:
    parts = [part.name for part in SHAPES["64"].fixed if part.name.endswith("_count")]
    assert [row.count for row in LISTINGS] == parts
    assert all(row.tag in SHAPES["64"].optional for row in LISTINGS)


@pytest.mark.parametrize(
    ("kind", "late", "marks"),
    [
        ("overdue", False, "YYYY      Y"),
        ("processing", False, "YYYY      YY"),
        ("damage", False, "YYYY      YY"),
        ("replacement", False, "YYYY      Y  Y"),
        ("overdue", True, "YYYY  Y   Y"),
    ],
)
def test_blocked_patron_has_the_flags_for_fees_and_overdue_items(
    place: Place, fields: Fields, store: SoleStore, clock: list[datetime], kind: str, late: bool, marks: str
) -> None:
    due = date(2017, 2, 1) if late else date(2017, 3, 16)
    request = place(P.ON_LOAN, first_checkout=date(2017, 1, 17), due=due)
    store.now(lambda unit: fines.charge(unit, request, kind, 2000, "R40", clock[0], Actor(who="test", channel="world")))
    store.now(lambda unit: unit.execute(update(PATRONS).values(blocked=True)))
    assert fields("counter-1", _63("P1")).get("patron_status") == f"{marks:14}"
    for summary in ("   Y", "      Y", "       Y"):
        assert fields("counter-1", _63("P1", summary)).all("AV")[0].startswith("#1 ")


def test_every_flag_is_a_position_in_the_patron_status() -> None:
    assert next(part.width for part in SHAPES["64"].fixed if part.name == "patron_status") == POSITIONS
    assert set(MARKS) <= set(range(POSITIONS))
