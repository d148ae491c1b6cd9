"""Checkout, check-in and renewal at a terminal: 12, 10 and 30."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
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


def test_item_on_the_hold_shelf_is_checked_out_to_its_requester(place: Place, ask: Ask) -> None:
    place(P.RECEIVED)
    assert ask("counter-1", _11()) == f"121NUY{DATE}AOHKU|AAP1|ABC1|AJDune|AH20170316    235959|"


def test_repeated_checkout_succeeds_with_a_screen_message(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    fields("counter-1", _11(policy="N"))
    again = fields("counter-1", _11(policy="N"))
    assert (again.get("ok"), again.get("renewal_ok"), again.get("AH")) == ("1", "Y", "20170316    235959")
    assert again.all("AF") == ("On loan to you already, until 2017-03-16",)


def test_repeated_checkout_with_renewal_allowed_renews_the_loan(place: Place, fields: Fields, clock: list[datetime]) -> None:
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
def test_refused_checkout_is_not_ok_and_gives_the_reason(
    place: Place, store: SoleStore, fields: Fields, login: str, card: str, position: Position, text: str
) -> None:
    request = place(position)
    reply = fields(login, _11(card))
    assert [reply.get(name) for name in ("ok", "renewal_ok", "desensitize", "AH")] == ["0", "N", "N", ""]
    assert reply.all("AF") == (text,)
    assert store.now(lambda unit: unit.requests.find(request.id)) == request


def test_pin_is_checked_at_every_terminal_when_given(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    assert fields("counter-1", _11(more="AD9999|")).all("AF") == ("The PIN is missing or wrong (R10)",)
    assert fields("pin-1", _11(more="AD1234|")).get("ok") == "1"


def test_due_date_is_formatted_for_the_terminal(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    assert fields("iso-1", _11()).get("AH") == "2017-03-16"


def test_offline_transactions_are_applied_on_their_own_date_and_conflicts_flagged(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    reply = fields("offline-1", f"11YY20170227    180000{DATE}AOHKU|AAP1|ABC1|AC|")
    assert (reply.get("ok"), reply.get("AH")) == ("1", "20170301    235959")
    assert reply.all("AF") == ("Taken, but staff must look at it",)


def test_fast_terminal_clock_does_not_lengthen_an_offline_loan(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    reply = fields("offline-2", _11(no_block="Y", date="20990101    000000"))
    assert reply.get("AH") == "20170316    235959"


def test_checkout_to_a_partners_card_ships_our_item(place: Place, store: SoleStore, fields: Fields) -> None:
    request = place(P.PAGED, side=Side.LENDING, item_agency="HKU", patron="")
    assert fields("counter-1", _11("CUHK-INST")).get("ok") == "1"
    shipped = store.now(lambda unit: unit.requests.find(request.id))
    assert shipped is not None
    assert shipped.position is P.SHIPPED


def test_checkout_with_cancel_restores_the_loan(place: Place, store: SoleStore, fields: Fields) -> None:
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
def test_checked_in_item_is_sorted_by_its_destination(
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


def test_own_item_is_checked_in_to_its_shelf(place: Place, fields: Fields) -> None:
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
def test_refused_checkin_is_sorted_to_the_exception_bin(
    place: Place, store: SoleStore, fields: Fields, login: str, text: str, left_there: dict[str, Any]
) -> None:
    request = place(P.ON_LOAN, due=date(2017, 3, 16))
    reply = fields(login, _09())
    assert [reply.get(name) for name in ("ok", "resensitize", "alert", "CL", "CV")] == ["0", "N", "Y", "exception", "99"]
    assert [reply.get(tag) for tag in ("AQ", "AJ")] == ["CUHK", "Dune"]
    assert reply.all("AF") == (text,)
    assert store.now(lambda unit: unit.requests.find(request.id)) == replace(request, **left_there)


def test_check_in_without_a_barcode_is_refused(fields: Fields) -> None:
    reply = fields("counter-1", _09(""))
    assert (reply.get("ok"), reply.get("alert")) == ("0", "Y")
    assert reply.all("AF") == ("The terminal's message could not be read",)


def test_offline_return_is_applied_on_its_own_date(place: Place, fields: Fields) -> None:
    place(P.ON_LOAN, due=date(2017, 2, 26))
    reply = fields("offline-2", _09(no_block="Y", returned="20170227    180000"))
    assert reply.all("AF") == ("Returned: send to CUHK. Fine HKD 2.00",)


def test_hold_patron_is_shown_to_staff_terminals_only(place: Place, fields: Fields) -> None:
    place(P.IN_TRANSIT)
    assert fields("counter-1", _09()).get("CY") == ""
    assert fields("staff-1", _09()).get("CY") == "P1"


def test_standard_terminal_gets_no_extension_fields(place: Place, ask: Ask) -> None:
    place(P.IN_TRANSIT)
    reply = ask("plain-1", _09())
    assert reply == f"101YUY{DATE}AOHKU|ABC1|AQCUHK|AJDune|CLhold|AFReceived: put on the hold shelf|"


def test_every_checkin_destination_has_a_route() -> None:
    assert set(SORT_BINS) == {"received", "held", "again", "unwanted", "uncollected", "returned", "late", "paged", "home"}
    assert len({route.notice for route in SORT_BINS.values()}) == len(SORT_BINS)


# ---- renewal


@pytest.mark.parametrize("more", ["ABC1|", "AJDune|", "ABC1|AJSomething else|"])
def test_loan_is_renewed_by_barcode_or_title(place: Place, fields: Fields, more: str) -> None:
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
def test_refused_renewal_gives_the_reason_and_the_due_date(
    place: Place, fields: Fields, login: str, card: str, more: str, due: str, text: str
) -> None:
    place(P.ON_LOAN, due=date(2017, 3, 16))
    reply = fields(login, _29(card, more))
    assert [reply.get(name) for name in ("ok", "renewal_ok", "AH")] == ["0", "N", due]
    assert reply.all("AF") == (text,)
