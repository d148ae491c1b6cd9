"""The table of permitted staff commands agrees with the commands themselves, in every position."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest

from hkall_gateway.circulation.command import Library, in_context
from hkall_gateway.circulation.find_request import StaffCommand
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import permitted
from hkall_gateway.circulation.staff.actions import STAFF_ACTIONS, act, reopen
from hkall_gateway.circulation.staff.permitted import ACTIONS, REOPEN, DenialReason, actions
from hkall_gateway.cli.staff import requests
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.positions import FINAL, LENDING
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore

P = Position
HKU = Library(agency="HKU", name="HKU Libraries", policy=Policy(), pickup_locations=("HKU-MAIN-LENDING",))
CLERK = Actor(who="mei", channel="web", message="request")
BOTH_SIDES = {P.RETURN_TRANSIT, P.CLOSED}
PLACES = [
    (side, position)
    for position in Position
    for side in Side
    if position in BOTH_SIDES or (position in LENDING) is (side is Side.LENDING)
]
OF_POSITION = {Reason.WRONG_POSITION, Reason.TOO_LATE_TO_CANCEL}


def a_request(side: Side, position: Position, **facts: Any) -> Request:
    known: dict[str, Any] = {
        "patron": "" if side is Side.LENDING else "P1",
        "partner": "CUHK",
        "wire_agency": "HKU",
        "wire_id": "w-1",
        "item_agency": "CUHK",
        "item_barcode": "C1",
        "lost_on": date(2017, 2, 20),
        "recalled_on": date(2017, 2, 20),
        "flags": "drop",
        "due": date(2017, 3, 9),
        "lender_due": date(2017, 3, 12),
        "pickup_last": date(2017, 3, 9),
        "used": True,
        **facts,
    }
    return replace(Request(id="", side=side, position=position, title="Dune", bib_id="b1"), **known)


def names(found: tuple[permitted.Action, ...]) -> set[str]:
    return {action.name for action in found if action.allowed}


def test_every_command_of_staff_has_a_row() -> None:
    assert [row.name for row in ACTIONS] == list(dict.fromkeys(row.name for row in ACTIONS))
    assert {row.name for row in ACTIONS} == {*STAFF_ACTIONS, REOPEN}


def test_form_has_the_options_of_the_command_line() -> None:
    takes = {row.command: row.takes for row in requests.COMMANDS}
    for row in ACTIONS:
        assert takes.get(row.name, row.takes) == row.takes
    assert {row.name for row in ACTIONS if row.takes == ("lender",)} == {row.command for row in requests.CHOICES}


def test_command_is_refused_in_the_positions_listed_in_the_table(store: SoleStore, now: datetime) -> None:
    for number, (row, (side, position)) in enumerate(itertools.product(ACTIONS, PLACES)):
        request = a_request(side, position, item_barcode=f"C{number}", wire_id=f"w-{number}")
        _check(store, now, row, store.now(UnitOfWork.open, request, now, Actor(who="test", channel="world")))


def _check(store: SoleStore, now: datetime, row: permitted.ActionRow, request: Request) -> None:
    day = date(2017, 3, 20) if row.name in {"extend", "overseas", "recall"} else None
    command: Any = StaffCommand(by=CLERK, request=request.id, agency="CUHK", reason="because", on=day, position=P.CLOSED)
    (action,) = [one for one in actions(request, StaffRole.SYSADMIN) if one.name == row.name]

    if row.name == REOPEN:
        said: Any = store.now(in_context(reopen, HKU, now, command, BorrowerFacts(borrower=None, source="loaded")))
    else:
        said = store.now(in_context(act, HKU, now, command, row.name))

    where = f"{row.name}: {request.side} {request.position}"
    if action.allowed:
        assert not (isinstance(said, Refused) and said.why in OF_POSITION), where
    else:
        assert action.hindrance is DenialReason.POSITION, where
        assert isinstance(said, Refused) or store.now(lambda unit: unit.requests.find(request.id)) == request, where


@pytest.mark.parametrize(
    ("name", "side", "position", "without", "hindrance"),
    [
        ("seen", Side.BORROWING, P.ON_LOAN, {"flags": ""}, DenialReason.NO_FLAG),
        ("cancel_recall", Side.LENDING, P.AT_BORROWER, {"recalled_on": None}, DenialReason.NO_RECALL),
        ("settle", Side.BORROWING, P.ON_LOAN, {"lost_on": None}, DenialReason.NOT_MISSING),
        (REOPEN, Side.BORROWING, P.UNFILLED, {"patron": ""}, DenialReason.NO_PATRON),
    ],
)
def test_refused_command_names_the_missing_precondition(
    name: str, side: Side, position: Position, without: dict[str, Any], hindrance: DenialReason
) -> None:
    def of(request: Request) -> DenialReason | None:
        return next(action.hindrance for action in actions(request, StaffRole.SUPERVISOR) if action.name == name)

    assert of(a_request(side, position)) is None
    assert of(a_request(side, position, **without)) is hindrance


def test_role_includes_the_permissions_of_lower_roles() -> None:
    loan = a_request(Side.BORROWING, P.ON_LOAN)
    allowed = [names(actions(loan, role)) for role in StaffRole]
    assert allowed[0] == set()
    assert allowed[0] < allowed[1] < allowed[2] <= allowed[3]
    assert allowed[1] == {"return", "renew", "lost", "damaged", "claim", "seen"}
    assert allowed[2] - allowed[1] == {"settle", "overseas", "extend", "force"}


def test_insufficient_role_is_reported_first() -> None:
    ended = a_request(Side.BORROWING, P.CLOSED)
    assert {action.hindrance for action in actions(ended, StaffRole.VIEWER)} == {DenialReason.ROLE}


def test_refused_command_says_whether_it_needs_a_reason() -> None:
    found = {action.name: action.needs_reason for action in actions(a_request(Side.BORROWING, P.NEW), StaffRole.VIEWER)}
    assert found == {**{name: row.needs_reason for name, row in STAFF_ACTIONS.items()}, REOPEN: True}


def test_ended_request_allows_only_retrospective_commands() -> None:
    for position in FINAL - LENDING:
        assert names(actions(a_request(Side.BORROWING, position), StaffRole.SYSADMIN)) == {"seen", REOPEN, "force"}
