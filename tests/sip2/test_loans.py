"""Checkout, check-in and renewal at a terminal: 12, 10 and 30."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from hkall_gateway.db.database import Immediate
from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.handlers.loans import SORT_BINS

P = Position
DATE = "20170301    100000"
BLANK = " " * 18
Place = Callable[..., Request]
Fields = Callable[[str, str], Sip2Message]
Ask = Callable[[str, str], str]


def _11(card: str = "P1", item: str = "C1", policy: str = "Y", no_block: str = "N", more: str = "", date: str = DATE) -> str:
    return f"11{policy}{no_block}{date}{BLANK}AOHKU|AA{card}|AB{item}|AC|{more}"


def _09(item: str = "C1", no_block: str = "N", more: str = "", returned: str = DATE) -> str:
    return f"09{no_block}{DATE}{returned}APanywhere|AOHKU|AB{item}|AC|{more}"


def _29(card: str = "P1", more: str = "ABC1|") -> str:
    return f"29NN{DATE}{BLANK}AOHKU|AA{card}|{more}"


# ---- checkout


def test_a_book_on_the_hold_shelf_is_lent_to_its_requester(place: Place, ask: Ask) -> None:
    place(P.RECEIVED)
    assert ask("counter-1", _11()) == f"121NUY{DATE}AOHKU|AAP1|ABC1|AJDune|AH20170316    235959|"


def test_the_same_checkout_again_is_the_same_success_and_says_so(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    fields("counter-1", _11(policy="N"))
    again = fields("counter-1", _11(policy="N"))
    assert (again.get("ok"), again.get("renewal_ok"), again.get("AH")) == ("1", "Y", "20170316    235959")
    assert again.all("AF") == ("On loan to you already, until 2017-03-16",)


def test_a_checkout_again_that_means_a_renewal_is_one(place: Place, fields: Fields, clock: list[datetime]) -> None:
    place(P.ON_LOAN, due=date(2017, 3, 3), loan_days=15)
    clock[0] += timedelta(seconds=600)
    again = fields("counter-1", _11(policy="Y"))
    assert (again.get("ok"), again.get("renewal_ok"), again.get("AH")) == ("1", "Y", "20170316    235959")
    assert again.all("AF") == ("Renewed until 2017-03-16",)


@pytest.mark.parametrize(
    ("login", "card", "position", "text"),
    [
        ("counter-1", "P2", P.RECEIVED, "此書由其他讀者申請 (R13)"),
        ("counter-1", "P1", P.IN_TRANSIT, "This book has not arrived yet (R13)"),
        ("selfcheck-1", "P1", P.RECEIVED, "HKALL books: please go to the Lending Services counter HKU-MAIN-LENDING (R16)"),
        ("counter-1", "P404", P.RECEIVED, "This card is not known. Please ask at the counter (R2)"),
        ("pin-1", "P1", P.RECEIVED, "The PIN is missing or wrong (R10)"),
        ("counter-1", "", P.RECEIVED, "The terminal's message could not be read"),
    ],
)
def test_a_refused_checkout_is_not_ok_and_says_why(
    place: Place, store: Immediate, fields: Fields, login: str, card: str, position: Position, text: str
) -> None:
    request = place(position)
    reply = fields(login, _11(card))
    assert [reply.get(name) for name in ("ok", "renewal_ok", "desensitize", "AH")] == ["0", "N", "N", ""]
    assert reply.all("AF") == (text,)
    assert store.now(lambda unit: unit.requests.find(request.id)) == request


def test_a_wrong_pin_is_refused_at_any_terminal_and_the_right_one_is_not(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    assert fields("counter-1", _11(more="AD9999|")).all("AF") == ("The PIN is missing or wrong (R10)",)
    assert fields("pin-1", _11(more="AD1234|")).get("ok") == "1"


def test_the_due_date_is_written_as_the_terminal_wants_it(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    assert fields("iso-1", _11()).get("AH") == "2017-03-16"


def test_offline_transactions_count_with_their_own_day_and_conflicts_are_flagged(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    reply = fields("offline-1", f"11YY20170227    180000{DATE}AOHKU|AAP1|ABC1|AC|")
    assert (reply.get("ok"), reply.get("AH")) == ("1", "20170301    235959")
    assert reply.all("AF") == ("Taken, but staff must look at it",)


def test_a_clock_that_runs_ahead_does_not_lengthen_an_off_line_loan(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    reply = fields("offline-2", _11(no_block="Y", date="20990101    000000"))
    assert reply.get("AH") == "20170316    235959"


def test_a_checkout_to_a_partner_s_card_ships_our_copy(place: Place, store: Immediate, fields: Fields) -> None:
    request = place(P.PAGED, side=Side.LENDING, item_agency="HKU", patron="")
    assert fields("counter-1", _11("CUHK-INST")).get("ok") == "1"
    shipped = store.now(lambda unit: unit.requests.find(request.id))
    assert shipped is not None
    assert shipped.position is P.SHIPPED


def test_a_checkout_that_cancels_a_check_in_puts_the_loan_back(place: Place, store: Immediate, fields: Fields) -> None:
    request = place(P.RETURN_TRANSIT, due=date(2017, 3, 16), used=True)
    reply = fields("counter-1", _11(more="BIY|"))
    assert (reply.get("ok"), reply.get("AH")) == ("1", "20170316    235959")
    assert reply.all("AF") == ("Return undone: on loan as before",)
    after = store.now(lambda unit: unit.requests.find(request.id))
    assert after is not None
    assert after.position is P.ON_LOAN


# ---- check-in


@pytest.mark.parametrize(
    ("position", "facts", "bin_", "alert", "cv", "ct", "text"),
    [
        (P.IN_TRANSIT, {}, "hold", "Y", "01", "HKU-MAIN-LENDING", "Received: put on the hold shelf"),
        (P.RECEIVED, {}, "hold", "Y", "01", "HKU-MAIN-LENDING", "Received before: it belongs on the hold shelf"),
        (P.IN_TRANSIT, {"unwanted": True}, "CUHK", "Y", "04", "CUHK", "Nobody waits for it any more: send to CUHK"),
        (P.ON_LOAN, {"due": date(2017, 3, 16)}, "CUHK", "Y", "04", "CUHK", "Returned: send to CUHK"),
        (P.ON_LOAN, {"due": date(2017, 2, 24)}, "CUHK", "Y", "04", "CUHK", "Returned: send to CUHK. Fine HKD 10.00"),
        (P.RETURN_TRANSIT, {}, "CUHK", "N", "04", "CUHK", "Scanned before: nothing has changed"),
    ],
)
def test_a_copy_that_is_taken_in_is_sorted_to_where_it_goes(
    place: Place,
    fields: Fields,
    position: Position,
    facts: dict[str, object],
    bin_: str,
    alert: str,
    cv: str,
    ct: str,
    text: str,
) -> None:
    place(position, **facts)
    reply = fields("counter-1", _09())
    assert [reply.get(name) for name in ("ok", "resensitize", "alert")] == ["1", "Y", alert]
    assert [reply.get(tag) for tag in ("AB", "AQ", "AJ", "CL", "CV", "CT")] == ["C1", "CUHK", "Dune", bin_, cv, ct]
    assert reply.all("AF") == (text,)


def test_our_own_copy_comes_home_to_its_shelf(place: Place, fields: Fields) -> None:
    place(P.RETURN_TRANSIT, side=Side.LENDING, item_agency="HKU", patron="", pickup_location="CUHK-MAIN")
    reply = fields("counter-1", _09())
    assert [reply.get(tag) for tag in ("AQ", "CL", "CV", "CT", "alert")] == ["HKU", "shelf", "00", "", "N"]
    assert reply.all("AF") == ("Our own book is home: re-shelve it",)


LEFT_THERE = {"flags": "HKALL_IN_BOOKDROP", "dropped_on": date(2017, 3, 1)}


@pytest.mark.parametrize(
    ("login", "text", "left_there"),
    [
        ("bookdrop-1", "Not returned. HKALL books must go to the Lending Services counter (R17)", LEFT_THERE),
        ("selfcheck-1", "HKALL books: please go to the Lending Services counter HKU-MAIN-LENDING (R16)", {}),
    ],
)
def test_where_a_return_is_not_taken_the_book_goes_to_the_exception_bin(
    place: Place, store: Immediate, fields: Fields, login: str, text: str, left_there: dict[str, Any]
) -> None:
    request = place(P.ON_LOAN, due=date(2017, 3, 16))
    reply = fields(login, _09())
    assert [reply.get(name) for name in ("ok", "resensitize", "alert", "CL", "CV")] == ["0", "N", "Y", "exception", "99"]
    assert [reply.get(tag) for tag in ("AQ", "AJ")] == ["CUHK", "Dune"]
    assert reply.all("AF") == (text,)
    assert store.now(lambda unit: unit.requests.find(request.id)) == replace(request, **left_there)


def test_a_check_in_without_a_barcode_cannot_be_read(fields: Fields) -> None:
    reply = fields("counter-1", _09(""))
    assert (reply.get("ok"), reply.get("alert")) == ("0", "Y")
    assert reply.all("AF") == ("The terminal's message could not be read",)


def test_a_return_that_happened_off_line_counts_on_its_own_day(place: Place, fields: Fields) -> None:
    place(P.ON_LOAN, due=date(2017, 2, 26))
    reply = fields("offline-2", _09(no_block="Y", returned="20170227    180000"))
    assert reply.all("AF") == ("Returned: send to CUHK. Fine HKD 2.00",)


def test_hold_patron_is_shown_to_staff_terminals_only(place: Place, fields: Fields) -> None:
    place(P.IN_TRANSIT)
    assert fields("counter-1", _09()).get("CY") == ""
    assert fields("staff-1", _09()).get("CY") == "P1"


def test_a_terminal_that_knows_only_the_standard_gets_no_extension(place: Place, ask: Ask) -> None:
    place(P.IN_TRANSIT)
    reply = ask("plain-1", _09())
    assert reply == f"101YUY{DATE}AOHKU|ABC1|AQCUHK|AJDune|CLhold|AFReceived: put on the hold shelf|"


def test_every_way_that_the_desk_knows_has_a_route() -> None:
    assert set(SORT_BINS) == {"received", "held", "again", "unwanted", "uncollected", "returned", "late", "paged", "home"}
    assert len({route.notice for route in SORT_BINS.values()}) == len(SORT_BINS)


# ---- renewal


@pytest.mark.parametrize("more", ["ABC1|", "AJDune|", "ABC1|AJSomething else|"])
def test_a_loan_is_renewed_by_barcode_or_title(place: Place, fields: Fields, more: str) -> None:
    place(P.ON_LOAN, due=date(2017, 3, 3), loan_days=15)
    reply = fields("counter-1", _29(more=more))
    assert [reply.get(name) for name in ("ok", "renewal_ok", "desensitize")] == ["1", "Y", "Y"]
    assert [reply.get(tag) for tag in ("AB", "AJ", "AH")] == ["C1", "Dune", "20170316    235959"]
    assert reply.all("AF") == ("Renewed until 2017-03-16",)


@pytest.mark.parametrize(
    ("login", "card", "more", "due", "text"),
    [
        ("counter-1", "P1", "ABC1|", "20170316    235959", "Can be renewed from 2017-03-09 on. Due on 2017-03-16 (R29)"),
        ("counter-1", "P2", "ABC1|", "20170316    235959", "此書已由其他讀者借出"),
        ("counter-1", "P1", "ABC404|", "", "This book is not on loan"),
        ("counter-1", "P1", "", "", "The terminal's message could not be read"),
        ("pin-1", "P1", "ABC1|", "", "The PIN is missing or wrong (R10)"),
    ],
)
def test_a_refused_renewal_says_why_and_until_when_the_loan_runs(
    place: Place, fields: Fields, login: str, card: str, more: str, due: str, text: str
) -> None:
    place(P.ON_LOAN, due=date(2017, 3, 16))
    reply = fields(login, _29(card, more))
    assert [reply.get(name) for name in ("ok", "renewal_ok", "AH")] == ["0", "N", due]
    assert reply.all("AF") == (text,)
