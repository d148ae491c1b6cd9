"""Checks a partner's report against our own record, by the table of position, report and date in `evidence.toml`.

Our own scans outweigh a partner's reports. A report that contradicts a scan is never applied automatically, but left to staff.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum, auto
from pathlib import Path
from types import MappingProxyType
from typing import Final

from hkall_gateway.rules import dates
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.vocabulary import Position, Side

E = Event


class News(StrEnum):
    """A partner's report about an item that we borrow from the partner (the first six) or lend to the partner."""

    SHIPPED = auto()
    DECLINED = auto()
    HOME = auto()
    RECALLED = auto()
    RECALL_CANCELLED = auto()
    RENEWED = auto()
    RECEIVED_THERE = auto()
    COMING_HOME = auto()
    WITHDRAWN = auto()
    KEPT_LONGER = auto()
    CLAIMED = auto()
    LOST = auto()


class Dated(StrEnum):
    """The day of a report compared with the day of our last scan. SAME is also used if one of the two days is unknown."""

    EARLIER = auto()
    SAME = auto()
    LATER = auto()


class Names(StrEnum):
    """Whether a report's RequestId and copy belong to one request. AGREE is also used if the report has only one of the two."""

    AGREE = auto()
    DIFFER = auto()


class Verdict(StrEnum):
    """The verdict on a partner's report.

    Attributes:
        APPLIED: The report changes the request.
        IGNORED: The report is outdated or already known, and is answered with success.
        HELD: The report is stored for staff, and answered with a problem.
        REFUSED: The requested action is no longer possible.
    """

    APPLIED = auto()
    IGNORED = auto()
    HELD = auto()
    REFUSED = auto()


SCANS: Final = frozenset({
    E.ARRIVE, E.ARRIVE_UNANNOUNCED, E.ARRIVE_UNWANTED, E.CHECK_OUT, E.UNDO_CHECK_OUT, E.RETURN, E.RETURN_UNUSED, E.DISPATCH,
    E.UNDO_RETURN, E.LEND, E.DECLINE, E.DECLINE_SHIPPED, E.CHECK_IN_HOME,
})  # fmt: skip
"""Events that, on one of OUR_CHANNELS, mean that our staff handled or searched for the item."""
OUR_CHANNELS: Final = frozenset({"sip2", "cli", "web", "api"})

IMPOSSIBLE: Final = "-"
"""The cell of a report that names a copy alone, so that its names cannot differ."""
_LETTERS: Final = {"a": Verdict.APPLIED, "i": Verdict.IGNORED, "h": Verdict.HELD, "r": Verdict.REFUSED}


Case = tuple[Side, Position, News, Dated, Names]
"""A cell of the table: our side and position, the report, its date, and whether its names agree."""


def read_table(text: str) -> Iterator[tuple[Case, Verdict]]:
    """Yield the cells of a table in the format of `evidence.toml`. Raise ValueError for a cell too many or too few."""
    for side, rows in tomllib.loads(text).items():
        reports = [News[name] for name in rows.pop("reports")]
        names_differ = rows.pop("names_differ").split()
        for position, cells in rows.items():
            for names, letters_by_report in ((Names.AGREE, cells.split()), (Names.DIFFER, names_differ)):
                for news, letters in zip(reports, letters_by_report, strict=True):
                    if letters == IMPOSSIBLE:
                        continue
                    for when, letter in zip(Dated, letters * (3 // len(letters)), strict=True):
                        yield (Side(side), Position[position], news, when, names), _LETTERS[letter]


TABLE: Final[Mapping[Case, Verdict]] = MappingProxyType(
    dict(read_table(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")))
)


def dated(news_at: datetime | None, scanned_at: datetime | None) -> Dated:
    """Compare a report with our scan by civil days, since clocks differ by minutes and some partners send no time."""
    if news_at is None or scanned_at is None:
        return Dated.SAME
    news_day, scan_day = dates.civil(news_at), dates.civil(scanned_at)
    return Dated.EARLIER if news_day < scan_day else Dated.LATER if news_day > scan_day else Dated.SAME


def judge(side: Side, position: Position, news: News, when: Dated = Dated.SAME, names: Names = Names.AGREE) -> Verdict:
    """Return the verdict on a report about a request in this position."""
    return TABLE[side, position, news, when, names]
