"""Two users work on one request: the second is told what has changed, and nothing is done."""

from __future__ import annotations

import pytest

from hkall_gateway.circulation.borrowing import Requested
from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.idempotency import Overtaken
from hkall_gateway.circulation.results import DeliveryResult, Done
from hkall_gateway.circulation.staff import console
from hkall_gateway.circulation.staff.actions import Act, Reopen
from hkall_gateway.db.database import finished
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.stored_words import DeliveryKind, StaffRole
from hkall_gateway.rules.vocabulary import Position
from tests.circulation.conftest import CLERK, DeskWorld

P = Position


@pytest.fixture
def desk(library_on_each: DeskWorld) -> DeskWorld:
    return library_on_each


def seen(desk: DeskWorld) -> int:
    """The id of the newest journal line displayed on the page of R1."""
    page = finished(
        desk.store.read(
            in_context(console.request_page.within, desk.library, desk.now, "R1", StaffRole.SUPERVISOR), is_long=True
        )
    )
    assert isinstance(page, console.RequestPage)
    return int(page.events[-1].line.id)


def test_command_runs_when_the_displayed_state_is_current(desk: DeskWorld) -> None:
    desk.wish()
    done = desk.ask(
        desk.circulation.execute(Act(by=CLERK, request="R1", reason="no longer wanted", action="cancel"), since=seen(desk))
    )
    assert isinstance(done, Done)
    assert desk.request().position is P.CANCELLING


def test_second_command_on_the_same_displayed_state_reports_the_first_change(desk: DeskWorld) -> None:
    desk.given(P.RECEIVED)
    both = seen(desk)
    desk.ask(desk.circulation.execute(Act(by=CLERK, request="R1", action="lend"), since=both))
    second = desk.ask(desk.circulation.execute(Act(by=CLERK, request="R1", action="return_unused"), since=both))
    assert isinstance(second, Overtaken)
    assert [(line.event, line.who, line.target) for line in second.lines] == [("CHECK_OUT", "mei", "ON_LOAN")]
    assert desk.request().position is P.ON_LOAN


def test_refusal_and_delivered_letter_do_not_count_as_changes(desk: DeskWorld) -> None:
    desk.given(P.IN_TRANSIT)
    desk.check_in()
    before = seen(desk)
    desk.act("ship")
    desk.delivered(Notification.LETTER_PICKUP, DeliveryResult(kind=DeliveryKind.ACCEPTED))
    assert seen(desk) > before
    assert isinstance(
        desk.ask(desk.circulation.execute(Act(by=CLERK, request="R1", action="return_unused"), since=before)), Done
    )


def test_ended_request_is_reopened_once(desk: DeskWorld) -> None:
    given = desk.given(P.IN_TRANSIT)
    desk.store.now(UnitOfWork.force, given, P.CLOSED, desk.now, CLERK, "test")
    command, before = Reopen(by=CLERK, request="R1", reason="found again"), seen(desk)
    assert isinstance(desk.ask(desk.circulation.execute(command, since=before)), Requested)
    assert isinstance(desk.ask(desk.circulation.execute(command, since=before)), Overtaken)
