"""The properties of each position, from `positions.toml`, and the sets that follow from them.

Ask for a property here, and do not list positions elsewhere: a position that is added later would be
missing there. Only what one operation does in each position stands with that operation.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum, auto
from pathlib import Path
from typing import Any, Final

from hkall_gateway.rules.vocabulary import Position, Side


class Stage(StrEnum):
    """The coarse progress of a request, which changes seldom."""

    ASKED = "wish"
    IN_HAND = auto()
    ENDED = auto()


class Quota(StrEnum):
    """From when, and until when, a request counts towards its patron's quota (R20, R21)."""

    REQUEST = auto()
    LOAN = auto()
    UNTIL_HOME = auto()
    NONE = auto()


class CopyPlace(StrEnum):
    """Where the copy of a request is."""

    LENDER = auto()
    TO_BORROWER = auto()
    HOLD_SHELF = auto()
    PATRON = auto()
    TO_BE_SENT = auto()
    TO_LENDER = auto()
    BORROWER = auto()


class Change(StrEnum):
    """What a partner or patron may change: the pickup place and the last useful day, or that day."""

    PLACE = auto()
    DATE = auto()
    NONE = auto()


class LenderAnswer(StrEnum):
    """What the lender has decided."""

    UNDECIDED = auto()
    SENT = auto()
    NOT_SENT = auto()


class Result(StrEnum):
    """How the statistics count a request."""

    OPEN = auto()
    ENDED = auto()
    CANCELLED = auto()
    UNFILLED = auto()


class BadPositions(Exception):
    """The table has a bad cell, or lacks one. The message names the position and the column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """The properties of one position. `positions.toml` explains each column."""

    sides: frozenset[Side]
    starts: frozenset[Side]
    stage: Stage
    quota: Quota
    copy: CopyPlace
    patron_list: int
    lender_list: bool
    change: Change
    extend: bool
    lender_answer: LenderAnswer
    result: Result
    stalls_after: str
    slip: str
    work_lists: Mapping[Side, frozenset[str]]
    check_ins: frozenset[str]


def _sides(names: list[str]) -> frozenset[Side]:
    return frozenset(map(Side, names))


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("is a number from 0")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is true or false")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError('is a word, "none" for none')
    return value


def _words(values: list[object]) -> frozenset[str]:
    return frozenset(map(_word, values))


def _lists(values: Mapping[str, list[object]]) -> dict[Side, frozenset[str]]:
    return {Side(side): _words(names) for side, names in values.items()}


_READERS: Final[Mapping[str, Callable[[Any], object]]] = {  # Any: what TOML has there
    "sides": _sides,
    "starts": _sides,
    "stage": Stage,
    "quota": Quota,
    "copy": CopyPlace,
    "patron_list": _number,
    "lender_list": _flag,
    "change": Change,
    "extend": _flag,
    "lender_answer": LenderAnswer,
    "result": Result,
    "stalls_after": _word,
    "slip": _word,
    "work_lists": _lists,
    "check_ins": _words,
}


def read_positions(text: str) -> dict[Position, PositionRow]:
    """Read a table in the format of `positions.toml`.

    Raises:
        BadPositions: A position or a cell is missing or unknown, or a value does not fit its column.
    """
    table = tomllib.loads(text)
    known = {position.name for position in Position}
    for name in sorted(known ^ table.keys()):
        raise BadPositions(f"{name}: has no row" if name in known else f"{name}: is no position")
    return {position: _read_row(position, table[position.name]) for position in Position}


def _read_row(position: Position, cells: Mapping[str, Any]) -> PositionRow:
    columns = [field.name for field in fields(PositionRow)]
    for name in sorted(cells.keys() - set(columns)):
        raise BadPositions(f"{position}: {name} is no column")

    values: dict[str, Any] = {}
    for name in columns:
        if name not in cells:
            raise BadPositions(f"{position}: {name} is blank")
        try:
            values[name] = _READERS[name](cells[name])
        except (AttributeError, TypeError, ValueError) as error:
            raise BadPositions(f"{position}: {name} = {cells[name]!r}: {error}") from None

    row = PositionRow(**values)
    if not row.sides:
        raise BadPositions(f"{position}: sides is blank")
    if not row.starts <= row.sides:
        raise BadPositions(f"{position}: starts names a side that it does not have")
    if row.work_lists.keys() != row.sides:
        raise BadPositions(f"{position}: work_lists has not exactly its sides")
    return row


POSITIONS: Final[Mapping[Position, PositionRow]] = read_positions(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)


def positions_where(condition: Callable[[PositionRow], bool]) -> frozenset[Position]:
    """Return the positions whose properties satisfy a condition."""
    return frozenset(position for position, row in POSITIONS.items() if condition(row))


STAGES: Final[Mapping[Position, Stage]] = {position: row.stage for position, row in POSITIONS.items()}
FINAL: Final = positions_where(lambda row: row.stage is Stage.ENDED)
HOLDS_ITEM: Final = positions_where(lambda row: row.stage is Stage.IN_HAND)
"""Positions in which a request has a copy. No other request may have the same copy in hand."""

FIRST: Final[Mapping[Side, frozenset[Position]]] = {
    Side.BORROWING: positions_where(lambda row: Side.BORROWING in row.starts),  # IN_TRANSIT: an orphan item
    Side.LENDING: positions_where(lambda row: Side.LENDING in row.starts),
}
BORROWING: Final = positions_where(lambda row: Side.BORROWING in row.sides)
LENDING: Final = positions_where(lambda row: Side.LENDING in row.sides)
BORROWING_ONLY: Final = BORROWING - LENDING
LENDING_ONLY: Final = LENDING - BORROWING

TAKES_QUOTA: Final = positions_where(lambda row: row.quota in {Quota.REQUEST, Quota.LOAN})
"""A request counts towards the quota until the patron has returned the book (R20, R21)."""
TAKES_QUOTA_AS_LOAN: Final = positions_where(lambda row: row.quota is Quota.LOAN)
TAKES_QUOTA_UNTIL_HOME: Final = positions_where(lambda row: row.quota is Quota.UNTIL_HOME)

PATRON_CANCELLED: Final = BORROWING_ONLY & positions_where(
    lambda row: row.result is Result.CANCELLED or (row.stage is Stage.ASKED and row.quota is Quota.NONE)
)
"""Positions of a request that its patron has cancelled, whether or not the lender has agreed."""

WITHOUT_COPY: Final = positions_where(lambda row: row.stage is Stage.ASKED)
"""Positions in which a request of our patron waits for a lender."""
ASKED_FOR: Final = (FIRST[Side.BORROWING] | FIRST[Side.LENDING]) & positions_where(lambda row: row.copy is CopyPlace.LENDER)
"""Positions in which somebody asks for a copy. An unannounced copy begins in another one."""
LENDER_LIST_OPEN: Final = positions_where(lambda row: row.lender_list)
BEFORE_ARRIVAL: Final = (
    BORROWING_ONLY - FINAL - positions_where(lambda row: row.copy not in {CopyPlace.LENDER, CopyPlace.TO_BORROWER})
)
"""Positions in which we wait for the copy."""

PATRON_LIST: Final = tuple(
    sorted(positions_where(lambda row: row.patron_list > 0), key=lambda position: POSITIONS[position].patron_list)
)
"""Positions of what a patron has not fetched yet, in the order of the patron's record."""
PATRON_WAITS: Final = frozenset(PATRON_LIST)
STILL_WANTED: Final = PATRON_WAITS & TAKES_QUOTA
"""Positions in which a patron waits for a copy and has not cancelled."""
NOT_HERE_YET: Final = STILL_WANTED & BEFORE_ARRIVAL

NEVER_HERE: Final = BORROWING_ONLY & positions_where(lambda row: row.copy in {CopyPlace.LENDER, CopyPlace.TO_BORROWER})
"""Positions in which the copy that we borrow has not been here."""
ON_A_WAY: Final = positions_where(lambda row: row.copy in {CopyPlace.TO_BORROWER, CopyPlace.TO_LENDER})
ON_HOLD_SHELF: Final = positions_where(lambda row: row.copy is CopyPlace.HOLD_SHELF)
WITH_PATRON: Final = positions_where(lambda row: row.copy is CopyPlace.PATRON)
EXPECTED_OR_ON_SHELF: Final = BORROWING_ONLY & (ON_HOLD_SHELF | ON_A_WAY)
GOING_HOME: Final = BORROWING & positions_where(lambda row: row.copy in {CopyPlace.TO_BE_SENT, CopyPlace.TO_LENDER})
"""Positions in which a borrowed copy goes back to its lender."""
HAS_ARRIVED: Final = ON_HOLD_SHELF | WITH_PATRON | GOING_HOME
"""Positions of a borrowed copy that has arrived here."""
OUT_OF_LIBRARY: Final = WITH_PATRON | (
    LENDING_ONLY & positions_where(lambda row: row.copy in {CopyPlace.TO_BORROWER, CopyPlace.BORROWER})
)
"""Positions in which a copy is away on loan."""

MAY_CHANGE_PLACE: Final = positions_where(lambda row: row.change is Change.PLACE)
MAY_CHANGE_DATE: Final = positions_where(lambda row: row.change in {Change.PLACE, Change.DATE})
MAY_EXTEND: Final = positions_where(lambda row: row.extend)

LENDER_SENT: Final = positions_where(lambda row: row.lender_answer is LenderAnswer.SENT)
LENDER_UNDECIDED: Final = positions_where(lambda row: row.lender_answer is LenderAnswer.UNDECIDED)
COUNTED_AS_CANCELLED: Final = positions_where(lambda row: row.result is Result.CANCELLED)
COUNTED_AS_UNFILLED: Final = positions_where(lambda row: row.result is Result.UNFILLED)

STALLS_AFTER: Final[Mapping[Position, str]] = {
    position: row.stalls_after for position, row in POSITIONS.items() if row.stalls_after != "none"
}
"""Key in `[waits]` of the time limit after which staff are notified, by position.

Source: BONUS+, OhioLINK, MOBIUS.
"""


class SlipKind(StrEnum):
    """Kinds of slips: for fetching our own copy, for the hold shelf, and for the transit to the lender."""

    PULL = "pull"
    HOLD = "hold"
    TRANSIT = "transit"


def with_slip(kind: str) -> frozenset[Position]:
    """Return the positions for which this kind of slip is printed."""
    return positions_where(lambda row: row.slip == kind)


HAS_SLIP: Final = positions_where(lambda row: row.slip != "none")


def with_check_in(result: str) -> frozenset[Position]:
    """Return the positions in which this result of a check-in still holds."""
    return positions_where(lambda row: result in row.check_ins)
