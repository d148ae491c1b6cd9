"""A lender's due date before the patron's: the loan is unchanged, and the lender is asked or notified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.partner_notice import ItemShipped
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.circulation.staff.closure_changes import MoveClosedDays, move
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import Actor, Position
from tests.circulation.conftest import sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
ASKED = (Partner(agency="CUHK", name="Chinese University", renewal_mode="ask_first"),)
TOLD = (Partner(agency="CUHK", name="Chinese University"),)
YES, NO = (
    DeliveryResult(kind=DeliveryKind.ACCEPTED),
    DeliveryResult(kind=DeliveryKind.REFUSED, problem="Renewal Not Allowed - Item Has Outstanding Requests"),
)
CLERK = Actor(who="mei", channel="cli", message="extend")


def lent_past(make_library: Callable[..., DeskWorld], partners: tuple[Partner, ...], lender_due: date) -> DeskWorld:
    """Dune is lent on 7 March, due on the 22nd; the lender's due date is `lender_due`."""
    made = make_library(partners=partners)
    made.given(P.RECEIVED, lender_due=lender_due)
    made.go_to("2017-03-07 10:00")
    made.check_out()
    return made


@pytest.mark.parametrize(
    ("partners", "lender_due", "told"),
    [
        (ASKED, date(2017, 3, 21), ["CUHK tell_lender_on_loan", "CUHK ask_lender_later_date"]),
        (ASKED, date(2017, 3, 22), ["CUHK tell_lender_on_loan"]),
        (TOLD, date(2017, 3, 21), ["CUHK tell_lender_on_loan"]),
    ],
)
def test_r32_lender_is_asked_for_the_patrons_due_date_when_its_own_is_earlier(
    make_library: Callable[..., DeskWorld], partners: tuple[Partner, ...], lender_due: date, told: list[str]
) -> None:
    library = lent_past(make_library, partners, lender_due)

    assert library.told() == told
    assert library.message().due == library.request().due == date(2017, 3, 22)


@pytest.mark.parametrize(
    ("answer", "lender_due", "flags"),
    [
        (YES, 22, ""),
        (DeliveryResult(kind=DeliveryKind.ALREADY), 22, ""),
        (replace(YES, due=date(2017, 3, 20)), 20, ""),
        (replace(YES, due=date(2017, 3, 30)), 30, ""),
        (replace(YES, due=date(2017, 3, 8)), 10, ""),
        (replace(YES, pending=True), 10, ""),
        (replace(YES, untold=True), 10, ""),
        (NO, 10, "refused:ask_lender_later_date"),
    ],
)
def test_r19_lender_reply_does_not_change_the_loan(
    make_library: Callable[..., DeskWorld], answer: DeliveryResult, lender_due: int, flags: str
) -> None:
    library = lent_past(make_library, ASKED, date(2017, 3, 10))
    before = library.request()

    library.delivered(Notification.ASK_LENDER_LATER_DATE, answer)

    assert library.request() == replace(before, lender_due=date(2017, 3, lender_due), flags=flags)


def by_staff(library: DeskWorld) -> None:
    library.act("extend", on=date(2017, 3, 25), reason="illness")


def by_a_closure(library: DeskWorld) -> None:
    library.close_on("HKU", "2017-03-16", "2017-03-17")
    library.store.now(in_context(move, library.library, library.now, MoveClosedDays(by=CLERK, reason="typhoon"), "", 10))


def by_a_late_shipment(library: DeskWorld) -> None:
    library.ask(
        library.circulation.execute(
            sent_as(ItemShipped, library.heard(wire_agency="HKU", wire_id="R1-1", due=date(2017, 3, 10)))
        )
    )


@pytest.mark.parametrize(
    ("happens", "lender_due"),
    [(by_staff, date(2017, 3, 20)), (by_a_closure, date(2017, 3, 17)), (by_a_late_shipment, None)],
)
def test_r32_lender_is_asked_whenever_the_two_due_dates_differ(
    make_library: Callable[..., DeskWorld], happens: Callable[[DeskWorld], None], lender_due: date | None
) -> None:
    library = make_library(partners=ASKED)
    library.lent_out(lender_due=lender_due)

    happens(library)

    assert library.told() == ["CUHK ask_lender_later_date"]
    assert library.message().due == library.request().due


def test_r28_lender_is_not_asked_for_a_later_date_after_its_recall(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(partners=ASKED)
    library.lent_out(lender_due=date(2017, 3, 16), recalled_on=date(2017, 3, 2))

    by_staff(library)

    assert library.told() == []


@pytest.mark.parametrize(
    ("answer", "lender_due"), [(YES, 29), (replace(YES, due=date(2017, 3, 31)), 31), (replace(YES, untold=True), 20)]
)
def test_lender_due_date_moves_when_the_lender_accepts_a_renewal_notification(
    library: DeskWorld, answer: DeliveryResult, lender_due: int
) -> None:
    library.lent_out(lender_due=date(2017, 3, 20))
    library.go_to("2017-03-14 10:00")
    library.renew()

    library.delivered(Notification.TELL_LENDER_RENEWED, answer)

    assert library.request().lender_due == date(2017, 3, lender_due)
