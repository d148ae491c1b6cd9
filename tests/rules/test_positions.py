"""The table of positions: complete, and the only place that says what a position is."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

import hkall_gateway
from hkall_gateway.circulation import returning
from hkall_gateway.circulation.partners import reconciling
from hkall_gateway.circulation.returning import Arrival
from hkall_gateway.db.queries.work_lists import ListName
from hkall_gateway.ncip import replies
from hkall_gateway.ncip.tables import flows
from hkall_gateway.rules import positions
from hkall_gateway.rules.positions import (
    BORROWING,
    HOLDS_ITEM,
    LENDING,
    POSITIONS,
    BadPositions,
    CopyPlace,
    PositionRow,
    SlipKind,
    Stage,
    read_positions,
)
from hkall_gateway.rules.settings import Waits
from hkall_gateway.rules.vocabulary import Position, Side
from hkall_gateway.simulator.consortium import invariants, patron_behaviour

pytestmark = pytest.mark.walks_a_table

P = Position
PACKAGE: Final = Path(hkall_gateway.__file__).parent
TEXT: Final = Path(positions.__file__).with_suffix(".toml").read_text(encoding="utf-8")
COLUMNS: Final = [field.name for field in fields(PositionRow)]

LISTED_BY_POSITION: Final = {
    # What one operation does in each position. A test below, or beside the table, names the position that is missing.
    "circulation/returning.py _ARRIVALS",
    "circulation/partners/reconciling.py _BORROWED",
    "circulation/partners/reconciling.py _LENT",
    "ncip/replies.py STATUS",
    "ncip/tables/flows.py STATUS",
    "rules/messages/letters.py _ROWS",
    # The consortium's simulation judges the program, so it does not read the program's table.
    "simulator/consortium/invariants.py HERE",
    "simulator/consortium/patron_behaviour.py _LENT",
}


def _without(position: str, column: str) -> str:
    """The table with one blank cell."""
    head, row = TEXT.split(f"\n[{position}]\n")
    blank, count = re.subn(rf"^{column} = .*\n", "", row, count=1, flags=re.MULTILINE)
    assert count == 1
    return f"{head}\n[{position}]\n{blank}"


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("position", sorted(Position))
def test_blank_cell_of_a_position_does_not_load(position: Position, column: str) -> None:
    with pytest.raises(BadPositions, match=f"{position}: {column} is blank"):
        read_positions(_without(position.name, column))


@pytest.mark.parametrize(
    ("cell", "instead", "complaint"),
    [
        ('stage = "wish"', 'stage = "elsewhere"', "NEW: stage = 'elsewhere'"),
        ('stage = "wish"', 'stage = ""', "NEW: stage = ''"),
        ('slip = "none"', 'slip = ""', "NEW: slip = ''"),
        ("patron_list = 3", "patron_list = -1", "NEW: patron_list = -1"),
        ("lender_list = true", 'lender_list = "yes"', "NEW: lender_list = 'yes'"),
        ('sides = ["borrow"]', "sides = []", "NEW: sides is blank"),
        ('starts = ["borrow"]', 'starts = ["lend"]', "NEW: starts names a side"),
        ("work_lists = { borrow = [] }", "work_lists = {}", "NEW: work_lists has not exactly its sides"),
        ("[NEW]", "[NEW]\ncolour = 1", "NEW: colour is no column"),
        ("[NEW]", "[NEWER]", "NEW: has no row"),
        ("[CLOSED]", "[PARKED]\n[CLOSED]", "PARKED: is no position"),
    ],
)
def test_bad_cell_is_refused_with_its_position_and_column(cell: str, instead: str, complaint: str) -> None:
    assert cell in TEXT
    with pytest.raises(BadPositions, match=re.escape(complaint)):
        read_positions(TEXT.replace(cell, instead, 1))


def test_every_column_is_explained() -> None:
    comment = "\n".join(line for line in TEXT.splitlines() if line.startswith("#"))
    assert [column for column in COLUMNS if not re.search(rf"^# {column} ", comment, re.MULTILINE)] == []


def test_words_of_the_table_are_known_where_they_are_used() -> None:
    rows = POSITIONS.values()
    limits = {field.name for field in fields(Waits)}
    assert {row.stalls_after for row in rows} <= limits | {"none"}
    assert {row.slip for row in rows} == {*SlipKind, "none"}
    assert {name for row in rows for names in row.work_lists.values() for name in names} <= {*ListName}
    assert {name for row in rows for name in row.check_ins} == {*Arrival} - {Arrival.AGAIN}


def test_places_in_a_patrons_list_are_unique() -> None:
    places = sorted(row.patron_list for row in POSITIONS.values() if row.patron_list)
    assert places == list(range(1, len(places) + 1))


@pytest.mark.parametrize("position", sorted(Position))
def test_position_holds_a_copy_exactly_if_its_copy_is_promised_or_away(position: Position) -> None:
    row = POSITIONS[position]
    if row.copy is not CopyPlace.LENDER:
        assert row.stage is Stage.IN_HAND
    if row.stage is not Stage.IN_HAND:
        assert (row.slip, row.check_ins == frozenset() or row.stage is Stage.ENDED) == ("none", True)


@pytest.mark.parametrize("position", sorted(HOLDS_ITEM))
def test_every_position_with_a_copy_has_a_check_in_and_a_circulation_status(position: Position) -> None:
    assert position in returning._ARRIVALS
    assert position in replies.STATUS


@pytest.mark.parametrize("position", sorted(Position))
def test_every_position_has_a_request_status(position: Position) -> None:
    assert position in flows.STATUS


@pytest.mark.parametrize("position", sorted(BORROWING - {P.NEW}))
def test_every_position_of_a_borrowed_copy_is_compared_with_the_lenders(position: Position) -> None:
    assert position in {ours for ours, _theirs, _mend in reconciling._BORROWED}


@pytest.mark.parametrize("position", sorted(LENDING))
def test_every_position_of_a_lent_copy_is_compared_with_the_borrowers(position: Position) -> None:
    assert position in {ours for ours, _theirs, _mend in reconciling._LENT}


def test_partners_positions_are_compared_too() -> None:
    theirs = {theirs for _ours, theirs, _mend in (*reconciling._BORROWED, *reconciling._LENT)} - {""}
    assert theirs == {*Position}


def test_simulation_knows_in_which_positions_a_copy_is_here_or_lent() -> None:
    """The simulation has its own words, so that a mistake in the table does not judge itself."""
    here = {CopyPlace.HOLD_SHELF, CopyPlace.PATRON, CopyPlace.TO_BE_SENT}
    lent = {CopyPlace.TO_BORROWER, CopyPlace.BORROWER}
    assert {position for position in BORROWING if POSITIONS[position].copy in here} == invariants.HERE
    assert {position for position in LENDING if POSITIONS[position].copy in lent} == patron_behaviour._LENT


def _positions_in(node: ast.AST) -> set[str]:
    names = (inner for inner in ast.walk(node) if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name))
    return {name.attr for name in names if name.value.id in {"P", "Position"}}  # type: ignore[attr-defined]  # an ast.Name


def test_no_other_table_lists_positions() -> None:
    tables = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.name == "positions.py" or "versions" in file.parts:
            continue
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.AnnAssign) and statement.value is not None:
                name, value = ast.unparse(statement.target), statement.value
            elif isinstance(statement, ast.Assign):
                name, value = ast.unparse(statement.targets[0]), statement.value
            else:
                continue
            if len(_positions_in(value)) > 1:
                tables.add(f"{file.relative_to(PACKAGE)} {name}")

    assert tables == LISTED_BY_POSITION


def test_table_has_a_row_for_each_position_in_the_order_of_the_life_cycle() -> None:
    assert list(tomllib.loads(TEXT)) == [position.name for position in Position]
    assert {side for row in POSITIONS.values() for side in row.sides} == {*Side}
