"""Checks a partner's report against our own record, by a table of position, report and date.

Our own scans outweigh a partner's reports. A report that contradicts a scan is never applied automatically, but left to staff.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum, auto
from itertools import product
from types import MappingProxyType
from typing import Final

from hkall_gateway.rules import dates
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.vocabulary import Position, Side

P, E = Position, Event


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

_LETTERS: Final = MappingProxyType({"a": Verdict.APPLIED, "i": Verdict.IGNORED, "h": Verdict.HELD, "r": Verdict.REFUSED})

# fmt: off
_LENDER: Final = (News.SHIPPED, News.DECLINED, News.HOME, News.RECALLED, News.RECALL_CANCELLED, News.RENEWED)
_BORROWED: Final[Mapping[Position, tuple[str, ...]]] = {
    #                 shipped declined home   recalled recall cancelled renewed
    P.NEW:            ("a",   "i",     "i",   "i",     "i",             "r"),
    P.REQUESTED:      ("a",   "a",     "a",   "a",     "a",             "a"),
    P.CANCELLING:     ("a",   "a",     "a",   "i",     "i",             "r"),
    P.IN_TRANSIT:     ("i",   "h",     "a",   "a",     "a",             "a"),
    P.RECEIVED:       ("i",   "h",     "h",   "a",     "a",             "a"),
    P.ON_LOAN:        ("i",   "h",     "h",   "a",     "a",             "a"),
    P.TO_RETURN:      ("iih", "h",     "haa", "i",     "i",             "r"),
    P.RETURN_TRANSIT: ("iih", "h",     "haa", "i",     "i",             "r"),
    P.CLOSED:         ("iih", "i",     "i",   "i",     "i",             "r"),
    P.UNFILLED:       ("a",   "i",     "i",   "i",     "i",             "r"),
    P.CANCELLED:      ("a",   "i",     "i",   "i",     "i",             "r"),
}
_BORROWER: Final = (News.RECEIVED_THERE, News.COMING_HOME, News.WITHDRAWN, News.KEPT_LONGER, News.CLAIMED, News.LOST)
_LENT: Final[Mapping[Position, tuple[str, ...]]] = {
    #                 received coming home withdrawn kept longer claimed lost
    P.PAGED:          ("a",    "a",        "a",      "r",        "r",    "r"),
    P.SHIPPED:        ("haa",  "haa",      "r",      "a",        "a",    "a"),
    P.AT_BORROWER:    ("i",    "haa",      "r",      "a",        "a",    "a"),
    P.RETURN_TRANSIT: ("i",    "i",        "r",      "r",        "a",    "a"),
    P.CLOSED:         ("iih",  "i",        "i",      "r",        "i",    "i"),
    P.DECLINED:       ("iih",  "iih",      "i",      "r",        "i",    "i"),
    P.WITHDRAWN:      ("i",    "i",        "i",      "r",        "i",    "i"),
}
# fmt: on


def _table_rows(
    side: Side, news_kinds: tuple[News, ...], cells: Mapping[Position, tuple[str, ...]]
) -> Iterator[tuple[tuple[Side, Position, News, Dated], Verdict]]:
    for (position, row), (column, news) in product(cells.items(), enumerate(news_kinds)):
        for dated, letter in zip(Dated, row[column] * (3 // len(row[column])), strict=True):
            yield (side, position, news, dated), _LETTERS[letter]


TABLE: Final[Mapping[tuple[Side, Position, News, Dated], Verdict]] = MappingProxyType({
    **dict(_table_rows(Side.BORROWING, _LENDER, _BORROWED)),
    **dict(_table_rows(Side.LENDING, _BORROWER, _LENT)),
})  # fmt: skip


def dated(news_at: datetime | None, scanned_at: datetime | None) -> Dated:
    """Compare a report with our scan by civil days, since clocks differ by minutes and some partners send no time."""
    if news_at is None or scanned_at is None:
        return Dated.SAME
    news_day, scan_day = dates.civil(news_at), dates.civil(scanned_at)
    return Dated.SAME if news_day == scan_day else Dated.EARLIER if news_day < scan_day else Dated.LATER


def judge(side: Side, position: Position, news: News, when: Dated = Dated.SAME) -> Verdict:
    """Return the verdict on a report about a request in this position."""
    return TABLE[side, position, news, when]
